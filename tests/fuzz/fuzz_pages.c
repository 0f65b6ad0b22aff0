/* LMDB's data file, as it may lie on a damaged disk. What the check (common/kv_check) calls sound LMDB reads and writes, and has the
 * same records; whatever the file holds, it ends.
 *
 * Input: 'f', then the file's bytes; else, of a file that LMDB made: [page u8][offset u16][length u8][bytes].... in place of
 * what is there, where page 255 cuts the file off at page `offset`. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#include "common/err.h"
#include "common/kv_check.h"
#include "tests/fuzz/fuzz.h"

#define MAP_BYTES (UINT64_C(16) << 20)
#define FILE_MAX (1 << 20)
#define CUT 255
#define DBS 3

static const char *const names[DBS] = {"node", "group-000", "group-001"};
static char folder[64], data_path[80];
static int check_fd;
static char check_path[32];
static uint8_t *base, *file;
static size_t base_bytes;

static void remove_folder(void)
{
	static const char *const files[] = {"data.mdb", "lock.mdb", "lock"};
	char path[96];
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, files[i]);
		(void)unlink(path);
	}
	(void)rmdir(folder);
}

/* ---- the file that LMDB made --------------------------------------------------------------------------------- */

static int open_kv(struct kv **ret)
{
	struct kv_lmdb_options o = {folder, names, DBS, MAP_BYTES, false};
	char *why = NULL;
	int rc = kv_lmdb_open(&o, ret, &why);
	free(why);
	return rc;
}

/* Branches, a record on pages of its own, pages that are free. */
static void write_some(struct kv *kv, unsigned round)
{
	static uint8_t value[9000];
	struct kv_txn *txn;
	FUZZ_CHECK(!kv_begin(kv, true, &txn));
	memset(value, (int)round, sizeof(value));
	for (unsigned i = 0; i < 40; i++) {
		char key[160];
		int n = snprintf(key, sizeof(key), "%c%05u%*u", 'a' + (int)(i % 3), i * 7919 % 1000, (int)(i * 5 % 120) + 1, round % 2);
		size_t size = i == 11 ? sizeof(value) : i * 13 % 90;
		FUZZ_CHECK(!kv_put(txn, 1 + i % 2, bytes_of(key, (size_t)n), bytes_of(value, size)));
		if (i % 4 == round % 4)
			FUZZ_CHECK(!kv_del(txn, 1 + i % 2, bytes_of(key, (size_t)n)));
	}
	FUZZ_CHECK(!kv_put(txn, 0, bytes_of("n", 1), bytes_of(value, 20)));
	FUZZ_CHECK(!kv_commit(txn));
}

static void setup(void)
{
	struct kv *kv;
	struct stat st;
	snprintf(folder, sizeof(folder), "%s/weir-fuzz-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	FUZZ_CHECK(mkdtemp(folder));
	(void)atexit(remove_folder);
	FUZZ_CHECK(!open_kv(&kv));
	for (unsigned round = 0; round < 6; round++)
		write_some(kv, round);
	kv_close(kv);
	snprintf(data_path, sizeof(data_path), "%s/data.mdb", folder);
	int fd = open(data_path, O_RDONLY | O_CLOEXEC);
	FUZZ_CHECK(fd >= 0 && !fstat(fd, &st) && st.st_size > 0 && st.st_size <= FILE_MAX);
	base_bytes = (size_t)st.st_size;
	base = xmalloc(base_bytes);
	file = xmalloc(FILE_MAX);
	FUZZ_CHECK(read(fd, base, base_bytes) == (ssize_t)base_bytes);
	close(fd);
	check_fd = memfd_create("weir-fuzz", MFD_CLOEXEC);
	FUZZ_CHECK(check_fd >= 0);
	snprintf(check_path, sizeof(check_path), "/proc/self/fd/%d", check_fd);
}

static size_t patched(const uint8_t *data, size_t len)
{
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE), n = base_bytes;
	struct rd r = rd_init(data, len);
	memcpy(file, base, base_bytes);
	while (rd_left(&r) > 4) {
		uint8_t page = rd_u8(&r);
		size_t at = rd_u8(&r);
		at |= (size_t)rd_u8(&r) << 8;
		if (page == CUT) {
			n = at * page_bytes < base_bytes ? at * page_bytes : base_bytes;
			continue;
		}
		size_t count = rd_u8(&r), to = page * page_bytes + at % page_bytes;
		count = count < rd_left(&r) ? count : rd_left(&r);
		const uint8_t *bytes = rd_raw(&r, count);
		for (size_t i = 0; i < count && to + i < base_bytes; i++)
			file[to + i] = bytes[i];
	}
	return n;
}

static void save(int fd, size_t n)
{
	FUZZ_CHECK(fd >= 0 && !ftruncate(fd, 0) && pwrite(fd, file, n, 0) == (ssize_t)n);
}

/* ---- what the check says ----------------------------------------------------------------------------------------- */

struct seen {
	uint64_t hash, records, bad, damages;
};

static void add(struct seen *s, unsigned db, struct bytes key, struct bytes value)
{
	s->hash += XXH3_64bits_withSeed(value.p, value.n, XXH3_64bits(key.p, key.n) + db);
	s->records++;
}

static int on_record(void *arg, unsigned db, const char *name, struct bytes key, struct bytes value)
{
	FUZZ_CHECK(db < DBS && !strcmp(name, names[db]) && key.n > 0 && key.n <= KV_KEY_MAX);
	add(arg, db, key, value);
	return 0;
}

static void on_damage(void *arg, const struct kv_damage *d)
{
	struct seen *s = arg;
	FUZZ_CHECK(d->db && d->what);
	s->damages++;
}

static bool check(const char *path, bool either_meta, struct seen *s, struct kv_check_result *ret)
{
	struct kv_check_options o = {.path = path, .dbs = names, .db_count = DBS, .either_meta = either_meta, .arg = s,
	    .record = on_record, .damage = on_damage};
	char *why = NULL;
	*s = (struct seen){0};
	int rc = kv_check(&o, ret, &why);
	FUZZ_CHECK(rc ? why != NULL && (rc == WEIR_ENOTFOUND || rc == WEIR_EVERSION)
		      : s->damages == ret->bad_pages + ret->bad_records && s->records == ret->records);
	free(why);
	return !rc;
}

/* ---- what LMDB says ------------------------------------------------------------------------------------------------ */

static void read_db(struct kv_txn *txn, unsigned db, struct seen *s)
{
	struct kv_cursor *c;
	struct bytes key, value;
	FUZZ_CHECK(!kv_cursor_open(txn, db, &c));
	int rc = kv_cursor_first(c, &key, &value);
	for (; !rc || rc == WEIR_ECORRUPT; rc = kv_cursor_next(c, &key, &value)) {
		if (rc)
			s->bad++;
		else
			add(s, db, key, value);
	}
	FUZZ_CHECK(rc == WEIR_ENOTFOUND);
	kv_cursor_close(c);
}

static void write_and_delete(struct kv *kv)
{
	struct kv_txn *txn;
	int rc = 0;
	FUZZ_CHECK(!kv_begin(kv, true, &txn));
	for (unsigned db = 0; db < DBS && !rc; db++) {
		rc = kv_put(txn, db, bytes_of("b00500", 6), bytes_of("value", 5));
		int gone = rc ? WEIR_ENOTFOUND : kv_del(txn, db, bytes_of("a00000 0", 8));
		rc = gone == WEIR_ENOTFOUND ? rc : gone;
	}
	FUZZ_CHECK(!rc || rc == WEIR_EFULL);
	if (rc)
		kv_abort(txn);
	else
		FUZZ_CHECK(!kv_commit(txn) || true);
}

static void lmdb_agrees(const struct seen *said, uint64_t bad)
{
	struct kv *kv;
	struct kv_txn *txn;
	struct seen s = {0};
	int rc = open_kv(&kv);
	if (rc == WEIR_EFULL) /* as large as the file says it is, it is not */
		return;
	FUZZ_CHECK(!rc && !kv_begin(kv, false, &txn));
	for (unsigned db = 0; db < DBS; db++)
		read_db(txn, db, &s);
	kv_abort(txn);
	FUZZ_CHECK(s.hash == said->hash && s.records == said->records && s.bad == bad);
	write_and_delete(kv);
	kv_close(kv);
	struct kv_check_result after;
	FUZZ_CHECK(check(folder, false, &s, &after) && !after.bad_pages);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct seen s, either;
	struct kv_check_result r, of_either;
	if (!base)
		setup();
	if (!len)
		return 0;
	size_t n = len - 1 < FILE_MAX ? len - 1 : FILE_MAX;
	if (data[0] == 'f')
		memcpy(file, data + 1, n);
	else
		n = patched(data + 1, len - 1);
	save(check_fd, n);
	bool sound = check(check_path, false, &s, &r) && !r.bad_pages;
	FUZZ_CHECK(!check(check_path, true, &either, &of_either) || !sound || either.hash == s.hash);
	if (!sound || !r.records)
		return 0;
	int fd = open(data_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	save(fd, n);
	close(fd);
	lmdb_agrees(&s, r.bad_records);
	return 0;
}
