#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/kv.h"

#define KEY(text) bytes_of(text, strlen(text))
#define MAP_BYTES (8 * 1024 * 1024)

static const char *const names[] = {"one", "two"};
static char *folder; /* fresh for each test */
static char *why_text;

static void setup(void)
{
	char pattern[] = "/tmp/weir-kv-XXXXXX";
	ck_assert_ptr_nonnull(mkdtemp(pattern));
	folder = xstrdup(pattern);
	why_text = NULL;
}

static void teardown(void)
{
	static const char *const files[] = {"data.mdb", "lock.mdb", "lock", "sub/dir/data.mdb", "sub/dir/lock.mdb",
	    "sub/dir/lock", "sub/dir", "sub", ""};
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char *f = xasprintf("%s/%s", folder, files[i]);
		(void)remove(f);
		free(f);
	}
	free(folder);
	free(why_text);
}

static int open_at(const char *path, bool read_only, struct kv **ret_kv)
{
	struct kv_lmdb_options o = {path, names, 2, MAP_BYTES, read_only};
	free(why_text);
	why_text = NULL;
	return kv_lmdb_open(&o, ret_kv, &why_text);
}

static struct kv *open_kv(void)
{
	struct kv *kv;
	int rc = open_at(folder, false, &kv);
	ck_assert_msg(!rc, "%s", why_text ? why_text : err_text(rc));
	return kv;
}

static struct kv_txn *begin(struct kv *kv, bool write)
{
	struct kv_txn *t;
	ck_assert_int_eq(kv_begin(kv, write, &t), 0);
	return t;
}

static void put_text(struct kv_txn *t, unsigned db, const char *key, const char *value)
{
	ck_assert_int_eq(kv_put(t, db, KEY(key), KEY(value)), 0);
}

static void expect(struct kv_txn *t, unsigned db, const char *key, const char *value)
{
	struct bytes v;
	int rc = kv_get(t, db, KEY(key), &v);
	if (!value) {
		ck_assert_int_eq(rc, WEIR_ENOTFOUND);
		return;
	}
	ck_assert_int_eq(rc, 0);
	ck_assert_uint_eq(v.n, strlen(value));
	ck_assert_mem_eq(v.p, value, v.n);
}

START_TEST(committed_data_is_there_after_reopening)
{
	struct kv *kv = open_kv();
	struct kv_txn *t = begin(kv, true);
	put_text(t, 0, "a", "1");
	put_text(t, 1, "a", "other");
	put_text(t, 0, "empty", "");
	ck_assert_int_eq(kv_commit(t), 0);
	t = begin(kv, true);
	put_text(t, 0, "a", "2");
	ck_assert_int_eq(kv_del(t, 0, KEY("empty")), 0);
	ck_assert_int_eq(kv_del(t, 0, KEY("never")), WEIR_ENOTFOUND);
	expect(t, 0, "a", "2");
	kv_abort(t);
	kv_close(kv);
	kv = open_kv();
	t = begin(kv, false);
	expect(t, 0, "a", "1");
	expect(t, 1, "a", "other");
	expect(t, 0, "empty", "");
	expect(t, 0, "never", NULL);
	kv_abort(t);
	kv_close(kv);
}
END_TEST

START_TEST(a_reader_keeps_its_snapshot)
{
	struct kv *kv = open_kv();
	struct kv_txn *w = begin(kv, true);
	put_text(w, 0, "a", "1");
	ck_assert_int_eq(kv_commit(w), 0);
	struct kv_txn *r = begin(kv, false);
	w = begin(kv, true);
	put_text(w, 0, "a", "2");
	ck_assert_int_eq(kv_clear(w, 1), 0);
	ck_assert_int_eq(kv_commit(w), 0);
	expect(r, 0, "a", "1");
	kv_abort(r);
	ck_assert_int_eq(kv_maintain(kv), 0);
	kv_close(kv);
}
END_TEST

START_TEST(cursors_go_in_order_both_ways)
{
	struct kv *kv = open_kv();
	struct kv_txn *t = begin(kv, true);
	put_text(t, 0, "b", "2");
	put_text(t, 0, "a", "1");
	ck_assert_int_eq(kv_append(t, 0, KEY("c"), KEY("3")), 0);
	ck_assert_int_eq(kv_append(t, 0, KEY("b5"), KEY("x")), WEIR_EEXIST);
	struct kv_cursor *c;
	struct bytes k, v;
	ck_assert_int_eq(kv_cursor_open(t, 0, &c), 0);
	ck_assert_int_eq(kv_cursor_first(c, &k, &v), 0);
	ck_assert(k.n == 1 && k.p[0] == 'a' && v.n == 1 && v.p[0] == '1');
	ck_assert_int_eq(kv_cursor_next(c, &k, &v), 0);
	ck_assert(k.p[0] == 'b');
	ck_assert_int_eq(kv_cursor_seek(c, KEY("bb"), &k, &v), 0);
	ck_assert(k.p[0] == 'c');
	ck_assert_int_eq(kv_cursor_next(c, &k, &v), WEIR_ENOTFOUND);
	ck_assert_int_eq(kv_cursor_last(c, &k, &v), 0);
	ck_assert(k.p[0] == 'c');
	ck_assert_int_eq(kv_cursor_prev(c, &k, &v), 0);
	ck_assert(k.p[0] == 'b');
	ck_assert_int_eq(kv_cursor_seek(c, bytes_of("", 0), &k, &v), 0);
	ck_assert(k.p[0] == 'a');
	ck_assert_int_eq(kv_cursor_seek(c, KEY("d"), &k, &v), WEIR_ENOTFOUND);
	kv_cursor_close(c);
	ck_assert_int_eq(kv_clear(t, 0), 0);
	expect(t, 0, "a", NULL);
	kv_abort(t);
	kv_close(kv);
}
END_TEST

START_TEST(keys_have_limits)
{
	struct kv *kv = open_kv();
	struct kv_txn *t = begin(kv, true);
	char key[KV_KEY_MAX + 1];
	memset(key, 'k', sizeof(key));
	struct bytes v;
	ck_assert_int_eq(kv_put(t, 0, bytes_of(key, sizeof(key)), KEY("v")), WEIR_ETOOBIG);
	ck_assert_int_eq(kv_put(t, 0, bytes_of(key, 0), KEY("v")), WEIR_ETOOBIG);
	ck_assert_int_eq(kv_put(t, 0, bytes_of(key, KV_KEY_MAX), KEY("v")), 0);
	ck_assert_int_eq(kv_get(t, 0, bytes_of(key, KV_KEY_MAX), &v), 0);
	ck_assert_int_eq(kv_get(t, 0, bytes_of(key, 0), &v), WEIR_ENOTFOUND);
	ck_assert_int_eq(kv_get(t, 0, bytes_of(key, sizeof(key)), &v), WEIR_ENOTFOUND);
	ck_assert_int_eq(kv_commit(t), 0); /* too big did not spoil it */
	kv_close(kv);
}
END_TEST

/* What a get returned may be put under another key, although the write moves the page it lies in. */
START_TEST(values_may_be_put_from_where_they_lie)
{
	struct kv *kv = open_kv();
	struct kv_txn *t = begin(kv, true);
	char key[32], big[300];
	for (int i = 0; i < 200; i++) {
		snprintf(key, sizeof(key), "k%03d", i * 2);
		memset(big, i, sizeof(big));
		ck_assert_int_eq(kv_put(t, 0, KEY(key), bytes_of(big, sizeof(big))), 0);
	}
	for (int i = 0; i < 200; i++) {
		struct bytes v;
		snprintf(key, sizeof(key), "k%03d", i * 2);
		ck_assert_int_eq(kv_get(t, 0, KEY(key), &v), 0);
		snprintf(key, sizeof(key), "k%03d", i * 2 + 1);
		ck_assert_int_eq(kv_put(t, 0, KEY(key), v), 0);
		ck_assert_int_eq(kv_get(t, 0, KEY(key), &v), 0);
		memset(big, i, sizeof(big));
		ck_assert_uint_eq(v.n, sizeof(big));
		ck_assert_mem_eq(v.p, big, sizeof(big));
	}
	kv_abort(t);
	kv_close(kv);
}
END_TEST

static char *data_file(void)
{
	return xasprintf("%s/data.mdb", folder);
}

static uint8_t *read_file(const char *path, size_t *ret_len)
{
	FILE *f = fopen(path, "rb");
	ck_assert_ptr_nonnull(f);
	fseek(f, 0, SEEK_END);
	*ret_len = (size_t)ftell(f);
	rewind(f);
	uint8_t *p = xmalloc(*ret_len);
	ck_assert_uint_eq(fread(p, 1, *ret_len, f), *ret_len);
	fclose(f);
	return p;
}

static void write_file(const char *path, const void *p, size_t n)
{
	FILE *f = fopen(path, "wb");
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(p, 1, n, f), n);
	ck_assert_int_eq(fclose(f), 0);
}

START_TEST(each_flipped_bit_of_a_record_is_found)
{
	static const char text[] = "a value that can be found in the file";
	struct kv *kv = open_kv();
	struct kv_txn *t = begin(kv, true);
	put_text(t, 0, "key", text);
	put_text(t, 0, "neighbour", "sound");
	ck_assert_int_eq(kv_commit(t), 0);
	kv_close(kv);

	char *file = data_file();
	size_t len;
	uint8_t *image = read_file(file, &len);
	uint8_t *at = memmem(image, len, text, strlen(text));
	ck_assert_ptr_nonnull(at);
	at -= KV_RECORD_HEAD;
	for (size_t bit = 0; bit < 8 * (KV_RECORD_HEAD + strlen(text)); bit++) {
		at[bit / 8] ^= (uint8_t)(1u << bit % 8);
		write_file(file, image, len);
		at[bit / 8] ^= (uint8_t)(1u << bit % 8);
		kv = open_kv();
		t = begin(kv, false);
		struct bytes k, v;
		ck_assert_int_eq(kv_get(t, 0, KEY("key"), &v), WEIR_ECORRUPT);
		struct kv_cursor *c;
		ck_assert_int_eq(kv_cursor_open(t, 0, &c), 0);
		ck_assert_int_eq(kv_cursor_first(c, &k, &v), WEIR_ECORRUPT);
		ck_assert(k.n == 3 && !memcmp(k.p, "key", 3));
		ck_assert_int_eq(kv_cursor_next(c, &k, &v), 0); /* and goes on */
		kv_cursor_close(c);
		kv_abort(t);
		kv_close(kv);
	}
	free(image);
	free(file);
}
END_TEST

START_TEST(a_record_under_another_key_is_found)
{
	struct kv *kv = open_kv();
	struct kv_txn *t = begin(kv, true);
	put_text(t, 0, "key-a", "v");
	ck_assert_int_eq(kv_commit(t), 0);
	kv_close(kv);
	char *file = data_file();
	size_t len;
	uint8_t *image = read_file(file, &len);
	uint8_t *at = memmem(image, len, "key-a", 5);
	ck_assert_ptr_nonnull(at);
	at[4] = 'b';
	write_file(file, image, len);
	kv = open_kv();
	t = begin(kv, false);
	struct bytes v;
	ck_assert_int_eq(kv_get(t, 0, KEY("key-b"), &v), WEIR_ECORRUPT);
	kv_abort(t);
	kv_close(kv);
	free(image);
	free(file);
}
END_TEST

static int fill(struct kv *kv, unsigned count)
{
	struct kv_txn *t = begin(kv, true);
	static const uint8_t value[1000];
	int rc = 0;
	for (unsigned i = 0; i < count && !rc; i++) {
		char key[32];
		snprintf(key, sizeof(key), "fill-%08u", i);
		rc = kv_put(t, 1, KEY(key), bytes_of(value, sizeof(value)));
	}
	int end = kv_commit(t);
	return rc ? rc : end;
}

START_TEST(a_cut_or_strange_file_is_refused_clearly)
{
	struct kv *kv = open_kv();
	ck_assert_int_eq(fill(kv, 200), 0);
	kv_close(kv);
	char *file = data_file();
	size_t len;
	uint8_t *image = read_file(file, &len);
	for (size_t cut = 1; cut < len; cut += 4096 * 3 + 77) {
		write_file(file, image, cut);
		for (int again = 0; again < 2; again++) { /* the first refusal must not make the second open succeed */
			ck_assert_int_eq(open_at(folder, false, &kv), WEIR_ECORRUPT);
			ck_assert_ptr_nonnull(strstr(why_text, "data.mdb"));
		}
		ck_assert_int_eq(open_at(folder, true, &kv), WEIR_ECORRUPT);
	}
	for (size_t i = 0; i < len; i++)
		image[i] = (uint8_t)(i * 2654435761u >> 13);
	write_file(file, image, len);
	ck_assert_int_eq(open_at(folder, false, &kv), WEIR_ECORRUPT);
	/* A damaged reader table is no reason not to start. */
	free(image);
	ck_assert_int_eq(remove(file), 0);
	char *lock = xasprintf("%s/lock.mdb", folder);
	write_file(lock, "garbage that is not a reader table", 34);
	kv_close(open_kv());
	free(lock);
	free(file);
}
END_TEST

/* LMDB leaves pages at the end unwritten that one transaction took and freed: such a file is sound. */
START_TEST(a_file_with_unwritten_free_pages_opens)
{
	struct kv *kv = open_kv();
	struct kv_txn *t = begin(kv, true);
	static const uint8_t value[100 * 1024];
	put_text(t, 0, "keep", "me");
	ck_assert_int_eq(kv_put(t, 0, KEY("big"), bytes_of(value, sizeof(value))), 0);
	ck_assert_int_eq(kv_del(t, 0, KEY("big")), 0);
	for (int i = 0; i < 100; i++) {
		char key[16];
		snprintf(key, sizeof(key), "k%03d", i);
		ck_assert_int_eq(kv_put(t, 1, KEY(key), bytes_of(value, 1000)), 0);
	}
	for (int i = 0; i < 100; i++) {
		char key[16];
		snprintf(key, sizeof(key), "k%03d", i);
		ck_assert_int_eq(kv_del(t, 1, KEY(key)), 0);
	}
	ck_assert_int_eq(kv_commit(t), 0);
	kv_close(kv);
	for (int i = 0; i < 2; i++) {
		kv = open_kv();
		t = begin(kv, false);
		expect(t, 0, "keep", "me");
		kv_abort(t);
		kv_close(kv);
	}
}
END_TEST

START_TEST(a_second_opener_is_refused)
{
	struct kv *kv = open_kv(), *other;
	ck_assert_int_eq(open_at(folder, false, &other), WEIR_EBUSY);
	ck_assert_ptr_nonnull(strstr(why_text, "in use"));
	ck_assert_int_eq(open_at(folder, true, &other), WEIR_EBUSY);
	kv_close(kv);
	kv_close(open_kv());
}
END_TEST

/* The asker is another process than the holder, and takes no lock that would keep one from opening. */
START_TEST(who_has_it_open_is_known)
{
	int ready[2], stop[2];
	pid_t pid = 0;
	char *why = NULL, byte = 0;
	ck_assert_int_eq(kv_lmdb_holder(folder, &pid, &why), WEIR_ENOTFOUND);
	free(why);
	ck_assert_int_eq(pipe(ready), 0);
	ck_assert_int_eq(pipe(stop), 0);
	pid_t child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		struct kv *kv = open_kv();
		(void)!write(ready[1], "x", 1);
		close(stop[1]);
		(void)!read(stop[0], &byte, 1);
		kv_close(kv);
		_exit(0);
	}
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	ck_assert_int_eq(kv_lmdb_holder(folder, &pid, &why), 0);
	ck_assert_int_eq(pid, child);
	close(stop[0]);
	close(stop[1]);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	why = NULL;
	ck_assert_int_eq(kv_lmdb_holder(folder, &pid, &why), WEIR_ENOTFOUND); /* the files are still there */
	ck_assert_ptr_nonnull(strstr(why, "no process has"));
	free(why);
	close(ready[0]);
	close(ready[1]);
	char *file = xasprintf("%s/data.mdb", folder); /* a file where a folder should be: told, not taken for nobody */
	why = NULL;
	ck_assert_int_eq(kv_lmdb_holder(file, &pid, &why), WEIR_EIO);
	free(why);
	free(file);
	kv_close(open_kv());
}
END_TEST

START_TEST(folders_are_made_private)
{
	char *path = xasprintf("%s/sub/dir", folder);
	struct kv *kv;
	ck_assert_int_eq(open_at("", false, &kv), WEIR_EINVAL);
	ck_assert_int_eq(open_at(path, true, &kv), WEIR_ENOTFOUND);
	ck_assert_int_eq(open_at(path, false, &kv), 0);
	struct stat st;
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0700);
	kv_close(kv);
	ck_assert_int_eq(open_at(path, true, &kv), 0);
	struct kv_txn *t;
	ck_assert_int_eq(kv_begin(kv, true, &t), WEIR_EINVAL);
	kv_close(kv);
	free(path);
	path = xasprintf("%s/lock.mdb", folder);
	write_file(path, "x", 1);
	char *below = xasprintf("%s/below", path);
	ck_assert_int_eq(open_at(below, false, &kv), WEIR_EIO);
	free(below);
	free(path);
}
END_TEST

START_TEST(a_full_map_keeps_the_data_and_lets_room_be_made)
{
	struct kv *kv = open_kv();
	ck_assert_uint_eq(kv_size_bytes(kv), MAP_BYTES);
	uint64_t empty = kv_used_bytes(kv);
	ck_assert_int_eq(fill(kv, 1000), 0);
	uint64_t used = kv_used_bytes(kv);
	ck_assert(used - empty > 1000 * 1000 && used - empty < 2500 * 1000);
	ck_assert_int_eq(fill(kv, 100000), WEIR_EFULL);
	ck_assert(kv_used_bytes(kv) == used);
	struct kv_txn *t = begin(kv, true);
	struct bytes v;
	ck_assert_int_eq(kv_get(t, 1, KEY("fill-00000999"), &v), 0);
	ck_assert_int_eq(kv_get(t, 1, KEY("fill-00001000"), &v), WEIR_ENOTFOUND);
	for (unsigned i = 0; i < 900; i++) {
		char key[32];
		snprintf(key, sizeof(key), "fill-%08u", i);
		ck_assert_int_eq(kv_del(t, 1, KEY(key)), 0);
	}
	ck_assert_int_eq(kv_commit(t), 0);
	ck_assert(kv_used_bytes(kv) < empty + 300 * 1000);
	kv_close(kv);
}
END_TEST

START_TEST(a_full_disk_is_told_from_a_broken_one)
{
	if (mount("weir-test", folder, "tmpfs", 0, "size=2m")) {
		fprintf(stderr, "skipped: cannot mount a tmpfs here: %s\n", strerror(errno));
		return;
	}
	struct kv *kv = open_kv();
	ck_assert_int_eq(fill(kv, 300), 0);
	ck_assert_int_eq(fill(kv, 3000), WEIR_EFULL);
	struct kv_txn *t = begin(kv, true);
	struct bytes v;
	ck_assert_int_eq(kv_get(t, 1, KEY("fill-00000299"), &v), 0);
	ck_assert_int_eq(kv_get(t, 1, KEY("fill-00000300"), &v), WEIR_ENOTFOUND);
	ck_assert_int_eq(kv_del(t, 1, KEY("fill-00000000")), 0);
	ck_assert_int_eq(kv_commit(t), 0); /* room to delete is left */
	kv_close(kv);
	kv = open_kv();
	ck_assert_int_eq(fill(kv, 200), 0);
	kv_close(kv);
	ck_assert_int_eq(umount(folder), 0);
}
END_TEST

/* LMDB's fdatasync is this one while the test runs. */
static bool sync_fails;

__attribute__((visibility("default"))) int fdatasync(int fd)
{
	if (!sync_fails)
		return (int)syscall(SYS_fdatasync, fd);
	errno = EIO;
	return -1;
}

START_TEST(a_sync_that_fails_is_told)
{
	struct kv *kv = open_kv();
	struct kv_txn *t = begin(kv, true);
	put_text(t, 0, "a", "1");
	ck_assert_int_eq(kv_commit(t), 0);
	t = begin(kv, true);
	put_text(t, 0, "a", "2");
	sync_fails = true;
	ck_assert_int_eq(kv_commit(t), WEIR_EIO);
	sync_fails = false;
	kv_close(kv);
	kv = open_kv();
	t = begin(kv, false);
	expect(t, 0, "a", "1");
	kv_abort(t);
	kv_close(kv);
}
END_TEST

static bool mount_small(const char *options);

/* A write that is cut short is EIO to LMDB, too: only the sync tells which it was. */
START_TEST(a_sync_that_fails_on_a_full_disk_is_no_full_disk)
{
	if (!mount_small("size=512k"))
		return;
	struct kv *kv = open_kv();
	for (int fails = 1; fails >= 0; fails--) {
		struct kv_txn *t = begin(kv, true);
		put_text(t, 0, "a", fails ? "1" : "2");
		sync_fails = fails > 0;
		ck_assert_int_eq(kv_commit(t), fails ? WEIR_EIO : 0);
		sync_fails = false;
		kv_close(kv); /* LMDB itself may go on only anew */
		kv = open_kv();
	}
	kv_close(kv);
	ck_assert_int_eq(umount(folder), 0);
}
END_TEST

/* A file system that cannot take blocks ahead, while this is set; else the real one. */
static int take_fails;

__attribute__((visibility("default"))) int fallocate(int fd, int mode, off_t offset, off_t len)
{
	if (!take_fails)
		return (int)syscall(SYS_fallocate, fd, mode, offset, len);
	errno = take_fails;
	return -1;
}

/* Small transactions until there is no room, then one that deletes `n` records: each finds its room. Returns the next
 * record's number. */
static unsigned fill_and_delete(struct kv *kv, unsigned from, unsigned n)
{
	static const uint8_t value[1500];
	char key[32];
	unsigned i = from;
	int rc;
	while (!(rc = kv_make_room(kv, sizeof(value) + 16384))) {
		struct kv_txn *t = begin(kv, true);
		snprintf(key, sizeof(key), "room-%08u", i++);
		ck_assert_int_eq(kv_append(t, 1, KEY(key), bytes_of(value, sizeof(value))), 0);
		ck_assert_int_eq(kv_commit(t), 0); /* what was promised */
	}
	ck_assert_int_eq(rc, WEIR_EFULL);
	ck_assert_uint_gt(i, from + n);
	struct kv_txn *t = begin(kv, true);
	for (unsigned d = 0; d < n; d++) {
		snprintf(key, sizeof(key), "room-%08u", from + d);
		ck_assert_int_eq(kv_del(t, 1, KEY(key)), 0);
	}
	ck_assert_int_eq(kv_commit(t), 0);
	return i;
}

START_TEST(room_to_delete_is_kept_in_the_map)
{
	struct kv *kv = open_kv();
	ck_assert_int_eq(kv_make_room(kv, MAP_BYTES + 1), WEIR_EFULL);
	ck_assert_int_eq(kv_make_room(kv, MAP_BYTES), WEIR_EFULL);
	unsigned count = fill_and_delete(kv, 0, 500);
	ck_assert_uint_gt(count, 3000); /* most of the map was used */
	ck_assert_int_eq(kv_make_room(kv, 100 * 1000), 0);
	kv_close(kv);
}
END_TEST

static bool mount_small(const char *options)
{
	if (!mount("weir-test", folder, "tmpfs", 0, options))
		return true;
	fprintf(stderr, "skipped: cannot mount a tmpfs here: %s\n", strerror(errno));
	return false;
}

START_TEST(room_to_delete_is_kept_on_the_disk)
{
	if (!mount_small("size=3m"))
		return;
	struct kv *kv = open_kv();
	unsigned count = fill_and_delete(kv, 0, 400);
	ck_assert_uint_gt(count, 900);
	kv_close(kv);
	kv = open_kv();
	(void)fill_and_delete(kv, count, 1);
	kv_close(kv);
	ck_assert_int_eq(umount(folder), 0);
}
END_TEST

START_TEST(a_disk_that_cannot_be_taken_ahead_is_asked_how_much_it_has)
{
	if (!mount_small("size=3m"))
		return;
	take_fails = EOPNOTSUPP;
	struct kv *kv = open_kv();
	unsigned count = fill_and_delete(kv, 0, 400);
	take_fails = 0;
	ck_assert_uint_gt(count, 900);
	ck_assert_int_eq(kv_make_room(kv, 100 * 1000), 0);
	kv_close(kv);
	ck_assert_int_eq(umount(folder), 0);
}
END_TEST

/* All that the disk has left, as a file of somebody else's. */
static void fill_disk(void)
{
	static const char zeros[65536];
	char *path = xasprintf("%s/ballast", folder);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	for (size_t n = sizeof(zeros); n >= 512;)
		if (write(fd, zeros, n) != (ssize_t)n)
			n /= 2;
	close(fd);
	free(path);
}

static void empty_disk(void)
{
	char *path = xasprintf("%s/ballast", folder);
	ck_assert_int_eq(unlink(path), 0);
	free(path);
}

static void put_many(struct kv_txn *t, unsigned n)
{
	static const uint8_t value[300];
	char key[32];
	for (unsigned i = 0; i < n; i++) {
		snprintf(key, sizeof(key), "%05u-many", i * 7919 % 100000);
		ck_assert_int_eq(kv_put(t, i % 2, KEY(key), bytes_of(value, sizeof(value))), 0);
	}
}

START_TEST(room_that_was_taken_is_there_though_others_fill_the_disk)
{
	if (!mount_small("size=6m"))
		return;
	struct kv *kv = open_kv();
	struct kv_txn *t = begin(kv, true);
	put_many(t, 1000);
	ck_assert_int_eq(kv_take_room(kv, kv_txn_bytes(t)), 0);
	fill_disk();
	ck_assert_int_eq(kv_commit(t), 0);
	/* As much again is not to be had, and the commit finds out. */
	t = begin(kv, true);
	put_many(t, 8000);
	ck_assert_int_eq(kv_take_room(kv, kv_txn_bytes(t)), WEIR_EFULL);
	ck_assert_int_eq(kv_commit(t), WEIR_EFULL);
	empty_disk();
	t = begin(kv, true);
	put_many(t, 1000);
	ck_assert_int_eq(kv_take_room(kv, kv_txn_bytes(t)), 0);
	ck_assert_int_eq(kv_commit(t), 0);
	kv_close(kv);
	ck_assert_int_eq(umount(folder), 0);
}
END_TEST

/* Pages that were freed are room too, as soon as a transaction has come between. */
START_TEST(free_pages_are_room)
{
	if (!mount_small("size=7m"))
		return;
	struct kv *kv = open_kv();
	struct kv_txn *t = begin(kv, true);
	put_many(t, 10000);
	ck_assert_int_eq(kv_commit(t), 0);
	ck_assert_int_eq(kv_take_room(kv, 64 * 1024), 0);
	fill_disk();
	ck_assert_int_eq(kv_take_room(kv, 1200 * 1024), WEIR_EFULL);
	t = begin(kv, true);
	ck_assert_int_eq(kv_clear(t, 0), 0);
	ck_assert_int_eq(kv_commit(t), 0);
	ck_assert_int_eq(kv_take_room(kv, 1200 * 1024), 0);
	kv_close(kv);
	ck_assert_int_eq(umount(folder), 0);
}
END_TEST

/* What a transaction is said to write is no less than it does: in order, in no order, over what is there, and with large values. */
START_TEST(what_a_commit_writes_is_known_before)
{
	static const uint8_t value[6000];
	struct kv *kv = open_kv();
	for (unsigned round = 0; round < 8; round++) {
		struct kv_txn *t = begin(kv, true);
		uint64_t before = kv_used_bytes(kv), none = kv_txn_bytes(t);
		char key[32];
		for (unsigned i = 0; i < 400; i++) {
			unsigned at = round % 2 ? i * 7919 % 1000 : i + round * 1000;
			snprintf(key, sizeof(key), "%05u-%u", at, round / 4);
			ck_assert_int_eq(kv_put(t, 0, KEY(key), bytes_of(value, round < 4 ? 100 + i % 50 : i % 8 ? 700 : 6000)), 0);
		}
		uint64_t told = kv_txn_bytes(t);
		ck_assert_int_eq(kv_commit(t), 0);
		ck_assert_uint_gt(told, none);
		ck_assert_uint_ge(told + before, kv_used_bytes(kv));
		ck_assert_uint_le(told, 2 * 400 * 3 * 4096 + none);
	}
	kv_close(kv);
}
END_TEST

START_TEST(a_quota_is_a_full_disk)
{
	struct kv *kv = open_kv();
	take_fails = EDQUOT;
	ck_assert_int_eq(kv_make_room(kv, 1000), WEIR_EFULL);
	take_fails = 0;
	ck_assert_int_eq(kv_make_room(kv, 1000), 0);
	kv_close(kv);
}
END_TEST

/* ---- a long life, against a model: what a write transaction remembers of where it was leads it nowhere else ---- */

#define KEYS 6000
#define LETTERS "gpdxa" /* some share what the transaction remembers by, some do not */

struct model {
	uint16_t len[2][KEYS]; /* of the value; 0: none */
	uint8_t fill[2][KEYS];
	uint32_t appended[2]; /* records behind all of these, by kv_append */
};

static uint64_t seed = 3;

static uint32_t rnd(uint32_t n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 33) % n;
}

/* Key i, of 6 to 12 bytes; ascending within a letter, as i is. */
static struct bytes key_at(uint32_t i, uint8_t room[16])
{
	uint32_t letters = sizeof(LETTERS) - 1, n = i / letters;
	int len = snprintf((char *)room, 16, "%c%05u", LETTERS[i % letters], n);
	while (len < 6 + (int)(n % 7))
		room[len++] = '.';
	return bytes_of(room, (size_t)len);
}

static void check_key(struct kv_txn *t, const struct model *m, unsigned db, uint32_t i)
{
	uint8_t room[16];
	struct bytes v;
	int rc = kv_get(t, db, key_at(i, room), &v);
	ck_assert_int_eq(rc, m->len[db][i] ? 0 : WEIR_ENOTFOUND);
	if (rc)
		return;
	ck_assert_uint_eq(v.n, m->len[db][i]);
	ck_assert(v.p[0] == m->fill[db][i] && !memcmp(v.p, v.p + 1, v.n - 1)); /* one byte repeated */
}

static void put_key(struct kv_txn *t, struct model *m, unsigned db, uint32_t i)
{
	uint8_t room[16], value[3000];
	size_t n = rnd(10) ? m->len[db][i] && rnd(2) ? m->len[db][i] : 1 + rnd(300) : 1 + rnd(sizeof(value));
	m->fill[db][i] = (uint8_t)rnd(256);
	m->len[db][i] = (uint16_t)n;
	memset(value, m->fill[db][i], n);
	ck_assert_int_eq(kv_put(t, db, key_at(i, room), bytes_of(value, n)), 0);
}

static struct bytes appended_at(uint32_t i, uint8_t room[16])
{
	return bytes_of(room, (size_t)snprintf((char *)room, 16, "y%08u", i));
}

static void append_key(struct kv_txn *t, struct model *m, unsigned db)
{
	uint8_t room[16];
	ck_assert_int_eq(kv_append(t, db, appended_at(m->appended[db]++, room), KEY("appended")), 0);
}

static void check_appended(struct kv_txn *t, const struct model *m, unsigned db)
{
	uint8_t room[16];
	struct bytes v;
	for (uint32_t i = 0; i <= m->appended[db]; i++)
		ck_assert_int_eq(kv_get(t, db, appended_at(i, room), &v), i < m->appended[db] ? 0 : WEIR_ENOTFOUND);
}

/* One of the things that a state writer does; keys come in runs. */
static void change(struct kv_txn *t, struct model *m, uint32_t deletes)
{
	uint8_t room[16];
	unsigned db = rnd(2);
	uint32_t i = rnd(KEYS), run = 1 + rnd(40), what = rnd(100), step = rnd(3) ? 5 : 1;
	if (what < 1 && !rnd(60)) {
		ck_assert_int_eq(kv_clear(t, db), 0);
		memset(m->len[db], 0, sizeof(m->len[db]));
		m->appended[db] = 0;
		return;
	}
	for (; run && i < KEYS; run--, i += step) {
		if (what < deletes) {
			ck_assert_int_eq(kv_del(t, db, key_at(i, room)), m->len[db][i] ? 0 : WEIR_ENOTFOUND);
			m->len[db][i] = 0;
		} else if (what < 60) {
			check_key(t, m, db, i);
			put_key(t, m, db, i);
		} else if (what < 85) {
			put_key(t, m, db, i);
		} else if (what < 90) {
			append_key(t, m, db);
		} else {
			check_key(t, m, db, i);
		}
	}
	if (what == 99)
		check_appended(t, m, db);
}

/* All records, in order, and no others. */
static void check_all(struct kv *kv, const struct model *m)
{
	struct kv_txn *t = begin(kv, false);
	for (unsigned db = 0; db < 2; db++) {
		struct kv_cursor *c;
		struct bytes key, value;
		uint8_t before[16];
		size_t found = 0, want = m->appended[db], before_n = 0;
		for (uint32_t i = 0; i < KEYS; i++) {
			check_key(t, m, db, i);
			want += m->len[db][i] != 0;
		}
		check_appended(t, m, db);
		ck_assert_int_eq(kv_cursor_open(t, db, &c), 0);
		for (int rc = kv_cursor_first(c, &key, &value); !rc; rc = kv_cursor_next(c, &key, &value), found++) {
			size_t n = key.n < before_n ? key.n : before_n;
			ck_assert(!before_n || memcmp(before, key.p, n) < 0);
			memcpy(before, key.p, key.n);
			before_n = key.n;
		}
		ck_assert_uint_eq(found, want);
		kv_cursor_close(c);
	}
	kv_abort(t);
}

START_TEST(a_long_life_is_that_of_a_map)
{
	static struct model now, after;
	struct kv_lmdb_options o = {folder, names, 2, 64 * 1024 * 1024, false};
	struct kv *kv;
	ck_assert_int_eq(kv_lmdb_open(&o, &kv, &why_text), 0);
	for (int round = 0; round < 30; round++) {
		struct kv_txn *t = begin(kv, true);
		after = now;
		for (uint32_t i = rnd(150), deletes = rnd(3) ? 3 : 40; i; i--)
			change(t, &after, deletes);
		if (rnd(5)) {
			ck_assert_int_eq(kv_commit(t), 0);
			now = after;
		} else {
			kv_abort(t);
		}
		if (round % 10 == 0)
			check_all(kv, &now);
	}
	check_all(kv, &now);
	kv_close(kv);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/kv");
	TCase *tc = tcase_create("all");
	tcase_set_timeout(tc, 300);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_long_life_is_that_of_a_map);
	tcase_add_test(tc, committed_data_is_there_after_reopening);
	tcase_add_test(tc, a_reader_keeps_its_snapshot);
	tcase_add_test(tc, cursors_go_in_order_both_ways);
	tcase_add_test(tc, keys_have_limits);
	tcase_add_test(tc, values_may_be_put_from_where_they_lie);
	tcase_add_test(tc, each_flipped_bit_of_a_record_is_found);
	tcase_add_test(tc, a_record_under_another_key_is_found);
	tcase_add_test(tc, a_cut_or_strange_file_is_refused_clearly);
	tcase_add_test(tc, a_file_with_unwritten_free_pages_opens);
	tcase_add_test(tc, a_second_opener_is_refused);
	tcase_add_test(tc, who_has_it_open_is_known);
	tcase_add_test(tc, folders_are_made_private);
	tcase_add_test(tc, a_full_map_keeps_the_data_and_lets_room_be_made);
	tcase_add_test(tc, a_full_disk_is_told_from_a_broken_one);
	tcase_add_test(tc, a_sync_that_fails_is_told);
	tcase_add_test(tc, room_to_delete_is_kept_in_the_map);
	tcase_add_test(tc, room_to_delete_is_kept_on_the_disk);
	tcase_add_test(tc, a_disk_that_cannot_be_taken_ahead_is_asked_how_much_it_has);
	tcase_add_test(tc, a_quota_is_a_full_disk);
	tcase_add_test(tc, a_sync_that_fails_on_a_full_disk_is_no_full_disk);
	tcase_add_test(tc, room_that_was_taken_is_there_though_others_fill_the_disk);
	tcase_add_test(tc, free_pages_are_room);
	tcase_add_test(tc, what_a_commit_writes_is_known_before);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
