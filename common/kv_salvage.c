#include "common/kv_salvage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/err.h"

#define SALVAGE_RECORDS 10000 /* of one transaction */
#define COPY_CHUNK (256 * 1024)
#define DAMAGED_FILE KV_DATA_FILE ".damaged"

/* ---- files ------------------------------------------------------------------------------------------------------ */

static void sync_folder(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)fsync(fd);
	close(fd);
}

static int move_file(const char *folder, const char *from_name, const char *to_name, char **ret_why)
{
	char *from = xasprintf("%s/%s", folder, from_name), *to = xasprintf("%s/%s", folder, to_name);
	int rc = 0;
	if (rename(from, to)) {
		*ret_why = xasprintf("%s cannot be renamed to %s: %s", from, to, strerror(errno));
		rc = WEIR_EIO;
	} else {
		sync_folder(folder);
	}
	free(from);
	free(to);
	return rc;
}

int kv_set_aside(const char *folder, char **ret_why)
{
	return move_file(folder, KV_DATA_FILE, DAMAGED_FILE, ret_why);
}

/* What cannot be read of it (a bad sector) is left out: a hole of zeroes. */
static bool copy_bytes(int from, int to, off_t size)
{
	uint8_t *chunk = xmalloc(COPY_CHUNK);
	bool fine = ftruncate(to, size) == 0;
	for (off_t at = 0; fine && at < size; at += COPY_CHUNK) {
		ssize_t n = pread(from, chunk, COPY_CHUNK, at);
		fine = n <= 0 || pwrite(to, chunk, (size_t)n, at) == n;
	}
	free(chunk);
	return fine;
}

static int copy_file(const char *from_path, const char *to_path)
{
	int from = open(from_path, O_RDONLY | O_CLOEXEC);
	int to = from < 0 ? -1 : open(to_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct stat st;
	bool fine = to >= 0 && !fstat(from, &st) && copy_bytes(from, to, st.st_size);
	if (from >= 0)
		close(from);
	if (to >= 0)
		fine = !close(to) && fine;
	return fine ? 0 : WEIR_EIO;
}

/* A second name for it, so that the first is there at every moment; a copy on file systems that know no second names. */
static int keep_damaged(const char *folder, char **ret_why)
{
	char *from = xasprintf("%s/" KV_DATA_FILE, folder), *to = xasprintf("%s/" DAMAGED_FILE, folder);
	int rc = 0;
	(void)unlink(to);
	if (link(from, to))
		rc = copy_file(from, to);
	if (rc)
		*ret_why = xasprintf("%s cannot be kept as %s: %s", from, to, strerror(errno));
	free(from);
	free(to);
	return rc;
}

static void remove_saved(const char *folder)
{
	static const char *const files[] = {KV_DATA_FILE, "lock.mdb", "lock"};
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char *file = xasprintf("%s/%s", folder, files[i]);
		(void)unlink(file);
		free(file);
	}
	(void)rmdir(folder);
}

/* ---- records ---------------------------------------------------------------------------------------------------- */

struct salvage {
	const struct kv_salvage_options *o;
	struct kv *to;
	struct kv_txn *txn;
	unsigned records;
};

static int save_record(void *arg, unsigned db, const char *name, struct bytes key, struct bytes value)
{
	struct salvage *s = arg;
	(void)name;
	int rc = s->txn ? 0 : kv_begin(s->to, true, &s->txn);
	if (!rc)
		rc = s->o->record ? s->o->record(s->o->arg, s->txn, db, key, value) : kv_put(s->txn, db, key, value);
	if (rc || ++s->records % SALVAGE_RECORDS)
		return rc;
	rc = kv_commit(s->txn);
	s->txn = NULL;
	return rc;
}

static void tell_progress(void *arg, uint64_t pages, uint64_t of_pages)
{
	const struct salvage *s = arg;
	if (s->o->progress)
		s->o->progress(s->o->arg, pages, of_pages);
}

static int finish(struct salvage *s)
{
	int rc = s->txn ? 0 : kv_begin(s->to, true, &s->txn);
	if (!rc && s->o->finish)
		rc = s->o->finish(s->o->arg, s->txn);
	if (!rc) {
		rc = kv_commit(s->txn);
		s->txn = NULL;
	}
	return rc;
}

static int save(const struct kv_salvage_options *o, const char *saved, char **ret_why)
{
	struct kv_lmdb_options to = {saved, o->dbs, o->db_count, o->map_bytes, false};
	struct salvage s = {.o = o};
	int rc = kv_lmdb_open(&to, &s.to, ret_why);
	if (rc)
		return rc;
	struct kv_check_options look = {.path = o->folder, .dbs = o->dbs, .db_count = o->db_count,
	    .either_meta = o->either_meta, .arg = &s, .record = save_record, .progress = tell_progress};
	struct kv_check_result result;
	rc = kv_check(&look, &result, ret_why);
	if (!rc)
		rc = finish(&s);
	if (s.txn)
		kv_abort(s.txn);
	kv_close(s.to);
	if (rc && !*ret_why)
		*ret_why = xasprintf("what reads of %s cannot be copied: %s", o->folder, err_text(rc));
	return rc;
}

int kv_salvage(const struct kv_salvage_options *o, char **ret_why)
{
	char *saved = xasprintf("%s/saved", o->folder);
	remove_saved(saved);
	int rc = save(o, saved, ret_why);
	if (!rc)
		rc = keep_damaged(o->folder, ret_why);
	if (!rc)
		rc = move_file(o->folder, "saved/" KV_DATA_FILE, KV_DATA_FILE, ret_why);
	remove_saved(saved);
	free(saved);
	return rc;
}
