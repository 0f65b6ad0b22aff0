#include "common/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/err.h"

#define OTHERS_MODE 077

void secret_free(struct buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->cap);
	buf_free(b);
}

static bool is_credential(const char *path)
{
	const char *folder = getenv("CREDENTIALS_DIRECTORY");
	size_t n = folder ? strlen(folder) : 0;
	return n && !strncmp(path, folder, n) && path[n] == '/' && !strstr(path + n, "/../");
}

static int check_file(const char *path, const struct stat *st, bool any_owner, char **ret_why)
{
	if (!S_ISREG(st->st_mode))
		*ret_why = xasprintf("%s is no plain file", path);
	else if (st->st_uid != geteuid() && st->st_uid != 0 && !any_owner)
		*ret_why = xasprintf("%s belongs to another user (uid %u): chown it to the user of this process (uid %u), or run this as that user",
		    path, (unsigned)st->st_uid, (unsigned)geteuid());
	else if ((st->st_mode & OTHERS_MODE) && !is_credential(path))
		*ret_why = xasprintf("others may read or write %s (mode %04o): chmod 600 it", path, (unsigned)st->st_mode & 07777);
	else if (st->st_size > SECRET_BYTES_MAX)
		*ret_why = xasprintf("%s is larger than %d bytes", path, SECRET_BYTES_MAX);
	else
		return 0;
	return S_ISREG(st->st_mode) && st->st_size > SECRET_BYTES_MAX ? WEIR_ETOOBIG : WEIR_EINVAL;
}

static int read_all(int fd, const char *path, struct buf *out, char **ret_why)
{
	for (size_t room = SECRET_BYTES_MAX + 1; room > 0;) {
		ssize_t n = read(fd, buf_reserve(out, room), room);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			*ret_why = xasprintf("%s: %s", path, strerror(errno));
			return WEIR_EIO;
		}
		if (n == 0)
			return 0;
		out->len += (size_t)n;
		room -= (size_t)n;
	}
	*ret_why = xasprintf("%s is larger than %d bytes", path, SECRET_BYTES_MAX); /* it grows under our hands */
	return WEIR_ETOOBIG;
}

static int read_secret(const char *path, bool any_owner, struct buf *out, char **ret_why)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* a pipe at path does not block */
	if (fd < 0 || fstat(fd, &st)) {
		int err = errno;
		*ret_why = xasprintf("%s: %s", path, strerror(err));
		if (fd >= 0)
			close(fd);
		return err == ENOENT ? WEIR_ENOTFOUND : WEIR_EIO;
	}
	struct buf b = {0};
	int rc = check_file(path, &st, any_owner, ret_why);
	if (!rc)
		rc = read_all(fd, path, &b, ret_why);
	close(fd);
	if (!rc)
		buf_put(out, b.data, b.len);
	secret_free(&b);
	return rc;
}

int secret_read(const char *path, struct buf *out, char **ret_why)
{
	return read_secret(path, false, out, ret_why);
}

int secret_read_as_tool(const char *path, struct buf *out, char **ret_why)
{
	return read_secret(path, geteuid() == 0, out, ret_why);
}

static int write_all(int fd, const void *bytes, size_t len)
{
	const char *p = bytes;
	while (len) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		p += n;
		len -= (size_t)n;
	}
	return fsync(fd);
}

/* What was renamed or linked stays so through a crash. */
static int sync_folder(const char *path)
{
	char *copy = xstrdup(path);
	int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(copy);
	int rc = fd < 0 ? -1 : fsync(fd);
	if (fd >= 0)
		close(fd);
	return rc;
}

/* The owner of what is replaced, else of the folder: root may work on the files of a daemon that runs as another user. */
static int take_owner(int fd, const char *path)
{
	struct stat st;
	char *copy = xstrdup(path);
	int rc = stat(path, &st);
	if (rc)
		rc = stat(dirname(copy), &st);
	free(copy);
	if (rc || geteuid() != 0)
		return rc;
	return fchown(fd, st.st_uid, st.st_gid);
}

static int write_file(const char *path, mode_t mode, const void *bytes, size_t len, bool fresh, char **ret_why)
{
	char *temp = xasprintf("%s.XXXXXX", path);
	int fd = mkostemp(temp, O_CLOEXEC); /* mode 0600 */
	int rc = fd < 0 || take_owner(fd, path) || fchmod(fd, mode) ? -1 : write_all(fd, bytes, len);
	if (fd >= 0 && close(fd))
		rc = -1;
	if (!rc)
		rc = fresh ? link(temp, path) : rename(temp, path);
	int err = errno;
	if (fd >= 0 && (rc || fresh))
		unlink(temp);
	free(temp);
	if (!rc && sync_folder(path)) {
		rc = -1;
		err = errno;
	}
	if (!rc)
		return 0;
	*ret_why = fresh && err == EEXIST ? xasprintf("%s is there already", path) : xasprintf("%s: %s", path, strerror(err));
	return fresh && err == EEXIST ? WEIR_EEXIST : WEIR_EIO;
}

int secret_write(const char *path, const void *bytes, size_t len, bool fresh, char **ret_why)
{
	return write_file(path, 0600, bytes, len, fresh, ret_why);
}

int secret_publish(const char *path, const void *bytes, size_t len, char **ret_why)
{
	return write_file(path, 0644, bytes, len, false, ret_why);
}
