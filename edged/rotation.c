#include "edged/rotation.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/err.h"

#define NUMBER_DIGITS_MAX 6 /* longer ones are dates */

int rotation_open(const char *folder, const char *name, struct stat *ret_stat)
{
	char *path = xasprintf("%s/%s", folder, name);
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	free(path);
	if (fd < 0)
		return -1;
	struct stat st;
	if (fstat(fd, &st)) {
		int error = errno;
		close(fd);
		errno = error;
		return -1;
	}
	if (!S_ISREG(st.st_mode)) {
		close(fd);
		errno = EINVAL;
		return -1;
	}
	*ret_stat = st;
	return fd;
}

static bool holds(int fd, uint64_t at, const uint8_t *want, size_t len)
{
	uint8_t got[ROTATION_CHECK_BYTES];
	return pread(fd, got, len, (off_t)at) == (ssize_t)len && !memcmp(got, want, len);
}

bool rotation_same_content(int fd, const struct rotation_id *id)
{
	struct stat st;
	return !fstat(fd, &st) && (uint64_t)st.st_size >= id->position && holds(fd, 0, id->head, id->head_len) &&
	    holds(fd, id->position - id->tail_len, id->tail, id->tail_len);
}

/* ---- siblings ------------------------------------------------------------------------------------------------- */

struct entries {
	char **names;
	size_t count;
};

static void entries_free(struct entries *e)
{
	for (size_t i = 0; i < e->count; i++)
		free(e->names[i]);
	free(e->names);
}

/* What follows NAME and a `.` or `-` in a sibling's name, if that starts with a digit; else NULL. */
static const char *suffix_of(const char *sibling, const char *name)
{
	size_t n = strlen(name);
	if (strncmp(sibling, name, n) || (sibling[n] != '.' && sibling[n] != '-') || !isdigit((unsigned char)sibling[n + 1]))
		return NULL;
	return sibling + n + 1;
}

static bool is_compressed(const char *name)
{
	static const char *const ends[] = {".gz", ".xz", ".bz2", ".zst", ".lz4"};
	size_t n = strlen(name);
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		size_t m = strlen(ends[i]);
		if (n > m && !strcmp(name + n - m, ends[i]))
			return true;
	}
	return false;
}

static size_t digits_of(const char *suffix)
{
	return strspn(suffix, "0123456789");
}

static int compare_suffixes(const char *a, const char *b)
{
	size_t m = digits_of(a), n = digits_of(b);
	if (m <= NUMBER_DIGITS_MAX && n <= NUMBER_DIGITS_MAX) {
		unsigned long x = strtoul(a, NULL, 10), y = strtoul(b, NULL, 10);
		if (x != y)
			return x > y ? -1 : 1;
	}
	return strcmp(a, b);
}

/* Oldest first. */
static int compare_names(const void *a, const void *b, void *arg)
{
	const char *name = arg;
	return compare_suffixes(suffix_of(*(char *const *)a, name), suffix_of(*(char *const *)b, name));
}

/* All names of the folder, or only the siblings of name, oldest first. */
static void list(const char *folder, const char *name, bool siblings, struct entries *ret)
{
	DIR *d = opendir(folder);
	*ret = (struct entries){0};
	if (!d)
		return;
	size_t room = 0;
	for (struct dirent *e; ret->count < ROTATION_ENTRIES_MAX && (e = readdir(d));) {
		if (!strcmp(e->d_name, name) || (siblings && !suffix_of(e->d_name, name)))
			continue;
		if (ret->count == room) {
			room = room ? 2 * room : 16;
			ret->names = xrealloc(ret->names, room * sizeof(*ret->names));
		}
		ret->names[ret->count++] = xstrdup(e->d_name);
	}
	closedir(d);
	if (siblings && ret->count)
		qsort_r(ret->names, ret->count, sizeof(*ret->names), compare_names, (void *)(uintptr_t)name);
}

static bool has_inode(const char *folder, const char *name, uint64_t inode)
{
	char *path = xasprintf("%s/%s", folder, name);
	struct stat st;
	bool same = !stat(path, &st) && (uint64_t)st.st_ino == inode;
	free(path);
	return same;
}

static int find_by_inode(const char *folder, const char *name, const struct rotation_id *id, struct stat *ret_stat)
{
	struct entries e;
	int fd = -1;
	list(folder, name, false, &e);
	for (size_t i = 0; i < e.count && fd < 0; i++) {
		if (!has_inode(folder, e.names[i], id->inode))
			continue;
		fd = rotation_open(folder, e.names[i], ret_stat);
		if (fd >= 0 && ((uint64_t)ret_stat->st_ino != id->inode || !rotation_same_content(fd, id))) {
			close(fd);
			fd = -1;
		}
	}
	entries_free(&e);
	return fd;
}

/* Only where there is enough to compare: youngest first, for a copy is made at the last rotation. */
static int find_copy(const char *folder, const char *name, const struct rotation_id *id, struct stat *ret_stat)
{
	struct entries e;
	int fd = -1;
	if (!id->position || (id->tail_len < ROTATION_CHECK_BYTES && id->tail_len < id->position))
		return -1;
	list(folder, name, true, &e);
	for (size_t i = e.count; i-- > 0 && fd < 0;) {
		fd = rotation_open(folder, e.names[i], ret_stat);
		if (fd >= 0 && !rotation_same_content(fd, id)) {
			close(fd);
			fd = -1;
		}
	}
	entries_free(&e);
	return fd;
}

int rotation_find(const char *folder, const char *name, const struct rotation_id *id, struct stat *ret_stat)
{
	int fd = find_by_inode(folder, name, id, ret_stat);
	return fd >= 0 ? fd : find_copy(folder, name, id, ret_stat);
}

void rotation_done_add(struct rotation_done *d, const struct rotation_id *id)
{
	if (!id->head_len)
		return;
	if (d->count == ROTATION_DONE_MAX)
		memmove(&d->files[0], &d->files[1], --d->count * sizeof(d->files[0]));
	size_t n = id->head_len < ROTATION_DONE_BYTES ? id->head_len : ROTATION_DONE_BYTES;
	d->files[d->count].inode = id->inode;
	memcpy(d->files[d->count].head, id->head, n);
	d->files[d->count].head_len = n;
	d->count++;
}

static bool is_done(int fd, const struct stat *st, const struct rotation_done *d)
{
	for (size_t i = 0; i < d->count; i++) {
		if (d->files[i].inode == (uint64_t)st->st_ino && holds(fd, 0, d->files[i].head, d->files[i].head_len))
			return true;
	}
	return false;
}

static bool is_older(const struct stat *a, const struct stat *b)
{
	return a->st_mtim.tv_sec != b->st_mtim.tv_sec ? a->st_mtim.tv_sec < b->st_mtim.tv_sec
						      : a->st_mtim.tv_nsec < b->st_mtim.tv_nsec;
}

static int next_once(const char *folder, const char *name, const struct stat *ours, const struct rotation_done *done,
    struct stat *ret_stat, unsigned *ret_passed)
{
	struct entries e;
	int fd = -1;
	unsigned passed = 0;
	list(folder, name, true, &e);
	size_t i = 0;
	while (i < e.count && !has_inode(folder, e.names[i], (uint64_t)ours->st_ino))
		i++;
	for (i++; i < e.count && fd < 0; i++) {
		fd = rotation_open(folder, e.names[i], ret_stat);
		if (fd < 0)
			continue;
		bool newer = !is_older(ret_stat, ours) && !is_done(fd, ret_stat, done);
		if (newer && !is_compressed(e.names[i]))
			break;
		passed += newer;
		close(fd);
		fd = -1;
	}
	entries_free(&e);
	if (fd < 0)
		fd = rotation_open(folder, name, ret_stat);
	*ret_passed = passed;
	return fd;
}

/* A rotation between listing and opening would shift the names: what is found must be found twice. */
int rotation_next(const char *folder, const char *name, const struct stat *ours, const struct rotation_done *done,
    struct stat *ret_stat, unsigned *ret_passed)
{
	struct stat st, again;
	for (int tries = 0; tries < 5; tries++) {
		int fd = next_once(folder, name, ours, done, &st, ret_passed);
		if (fd < 0)
			return -1;
		int fd_again = next_once(folder, name, ours, done, &again, ret_passed);
		bool same = fd_again >= 0 && st.st_ino == again.st_ino && st.st_dev == again.st_dev;
		if (fd_again >= 0)
			close(fd_again);
		if (same) {
			*ret_stat = st;
			return fd;
		}
		close(fd);
	}
	errno = EAGAIN;
	return -1;
}
