#include "common/keys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/model.h"
#include "common/secret.h"

#define PUB_TAIL ".pub"
#define WORLD_WRITE 002

/* What tells two states of a file apart. */
struct file_sign {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime, ctime;
};

struct entry {
	char *name;
	struct file_sign sign;
	size_t count; /* 0: never read well */
	struct key_text keys[KEYS_PER_NAME_MAX];
	bool fine;    /* it was read well last time */
	bool unread;  /* it could not be read last time, whatever it holds: tried with each poll */
	bool listed;  /* scratch of a scan */
};

struct owner {
	const struct key_text *key;
	const char *name;
};

struct keys {
	char *dir, *own_dir, *name;
	void *arg;
	void (*report)(void *arg, const char *text);
	char *own_path;
	struct file_sign own_sign, dir_sign;
	bool own_unread, dir_unread; /* as an entry's */
	struct key_text public, secret;
	struct entry **entries; /* by name */
	size_t entry_count, entry_cap;
	struct owner *owners;  /* by key */
	size_t owner_count;
	size_t next;           /* the entry that the next poll looks at first */
	struct keys_counters counters;
};

/* ---- Z85: 4 bytes are 5 characters ------------------------------------------------------------------------------ */

static const char z85[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

void key_encode(const uint8_t bytes[KEY_BYTES], struct key_text *ret_text)
{
	for (size_t i = 0; i < KEY_BYTES / 4; i++) {
		const uint8_t *b = bytes + 4 * i;
		uint32_t v = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
		for (size_t j = 5; j-- > 0; v /= 85)
			ret_text->text[5 * i + j] = z85[v % 85];
	}
	ret_text->text[KEY_TEXT] = 0;
}

int key_decode(const char text[KEY_TEXT], uint8_t ret_bytes[KEY_BYTES])
{
	uint8_t bytes[KEY_BYTES];
	int rc = 0;
	for (size_t i = 0; i < KEY_BYTES / 4; i++) {
		uint64_t v = 0;
		for (size_t j = 0; j < 5; j++) {
			const char *at = text[5 * i + j] ? memchr(z85, text[5 * i + j], 85) : NULL;
			if (!at)
				return WEIR_EINVAL;
			v = v * 85 + (uint64_t)(at - z85);
		}
		if (v > UINT32_MAX)
			rc = WEIR_EINVAL;
		for (size_t j = 4; j-- > 0; v >>= 8)
			bytes[4 * i + j] = (uint8_t)v;
	}
	if (!rc)
		memcpy(ret_bytes, bytes, KEY_BYTES);
	sodium_memzero(bytes, sizeof(bytes));
	return rc;
}

void key_make(struct key_text *ret_public, struct key_text *ret_secret)
{
	uint8_t public[KEY_BYTES], secret[KEY_BYTES];
	weir_assert(sodium_init() >= 0); /* fails without a source of random numbers only */
	weir_assert(crypto_box_keypair(public, secret) == 0);
	key_encode(public, ret_public);
	key_encode(secret, ret_secret);
	sodium_memzero(secret, sizeof(secret));
}

int key_public(const struct key_text *secret, struct key_text *ret_public)
{
	uint8_t bytes[KEY_BYTES], public[KEY_BYTES];
	weir_assert(sodium_init() >= 0);
	int rc = key_decode(secret->text, bytes);
	if (!rc && crypto_scalarmult_base(public, bytes))
		rc = WEIR_EINVAL;
	if (!rc)
		key_encode(public, ret_public);
	sodium_memzero(bytes, sizeof(bytes));
	return rc;
}

/* ---- a file's text ---------------------------------------------------------------------------------------------- */

/* One line without its end and without blanks around. */
static struct bytes next_line(struct bytes *rest)
{
	const uint8_t *end = memchr(rest->p, '\n', rest->n);
	struct bytes line = bytes_of(rest->p, end ? (size_t)(end - rest->p) : rest->n);
	size_t used = line.n + (end != NULL);
	*rest = bytes_of(rest->p + used, rest->n - used);
	while (line.n && (line.p[0] == ' ' || line.p[0] == '\t'))
		line = bytes_of(line.p + 1, line.n - 1);
	while (line.n && (line.p[line.n - 1] == ' ' || line.p[line.n - 1] == '\t' || line.p[line.n - 1] == '\r'))
		line.n--;
	return line;
}

/* A comment and a key could both begin with #: a key has exactly 40 characters of Z85. */
static bool is_key(struct bytes line)
{
	uint8_t bytes[KEY_BYTES];
	bool is = line.n == KEY_TEXT && !key_decode((const char *)line.p, bytes);
	sodium_memzero(bytes, sizeof(bytes));
	return is;
}

int keys_parse(struct bytes text, struct key_text *keys, size_t max, size_t *ret_count, unsigned *ret_line)
{
	size_t count = 0;
	for (unsigned number = 1; text.n; number++) {
		struct bytes line = next_line(&text);
		bool key = is_key(line);
		if (!key && (!line.n || line.p[0] == '#'))
			continue;
		if (!key || count == max) {
			*ret_line = number;
			return WEIR_EINVAL;
		}
		memcpy(keys[count].text, line.p, KEY_TEXT);
		keys[count++].text[KEY_TEXT] = 0;
	}
	*ret_count = count;
	return 0;
}

/* ---- the own key ------------------------------------------------------------------------------------------------ */

static struct file_sign sign_of(const struct stat *st)
{
	return (struct file_sign){st->st_dev, st->st_ino, st->st_size, st->st_mtim, st->st_ctim};
}

static bool same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same_sign(const struct file_sign *a, const struct file_sign *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size && same_time(a->mtime, b->mtime) &&
	    same_time(a->ctime, b->ctime);
}

static bool exists(const char *path)
{
	struct stat st;
	return !stat(path, &st);
}

/* Where the own secret is: the credentials of the service come first. */
static char *own_path(const struct keys *k)
{
	const char *folder = getenv("CREDENTIALS_DIRECTORY");
	if (folder && *folder) {
		char *path = xasprintf("%s/%s.key", folder, k->name);
		if (exists(path))
			return path;
		free(path);
		path = xasprintf("%s/weir.key", folder);
		if (exists(path))
			return path;
		free(path);
	}
	return xasprintf("%s/%s.key", k->own_dir, k->name);
}

static int read_own(const char *path, struct key_text *ret_public, struct key_text *ret_secret, char **ret_why)
{
	struct buf text = {0};
	struct key_text secret[1];
	size_t count = 0;
	unsigned line = 0;
	int rc = secret_read(path, &text, ret_why);
	if (!rc) {
		rc = keys_parse(bytes_of(text.data, text.len), secret, 1, &count, &line);
		if (rc || !count || key_public(&secret[0], ret_public)) {
			rc = WEIR_EINVAL;
			*ret_why = xasprintf("%s holds no secret key (one line of %d characters): `weirctl keygen` makes one", path,
			    KEY_TEXT);
		} else {
			*ret_secret = secret[0];
		}
	}
	sodium_memzero(secret, sizeof(secret));
	secret_free(&text);
	return rc;
}

static int load_own(struct keys *k, char **ret_why)
{
	char *path = own_path(k);
	struct stat st;
	if (!stat(path, &st))
		k->own_sign = sign_of(&st);
	else
		k->own_sign = (struct file_sign){0};
	struct key_text public, secret;
	int rc = read_own(path, &public, &secret, ret_why);
	if (!rc) {
		k->public = public;
		k->secret = secret;
	}
	sodium_memzero(&secret, sizeof(secret));
	free(k->own_path);
	k->own_path = path;
	return rc;
}

/* ---- the others' ------------------------------------------------------------------------------------------------- */

static void report(struct keys *k, char *text)
{
	if (k->report)
		k->report(k->arg, text);
	free(text);
}

static void report_broken(struct keys *k, char *text)
{
	k->counters.broken++;
	report(k, text);
}

static size_t find_place(const struct keys *k, const char *name, bool *ret_found)
{
	size_t low = 0, high = k->entry_count;
	*ret_found = false;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = strcmp(k->entries[mid]->name, name);
		if (!c) {
			*ret_found = true;
			return mid;
		}
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static void entry_free(struct entry *e)
{
	free(e->name);
	free(e);
}

static struct entry *entry_get(struct keys *k, const char *name)
{
	bool found;
	size_t i = find_place(k, name, &found);
	if (found)
		return k->entries[i];
	if (k->entry_count == KEYS_NAMES_MAX)
		return NULL;
	if (k->entry_count == k->entry_cap) {
		k->entry_cap = k->entry_cap ? k->entry_cap * 2 : 64;
		k->entries = xrealloc(k->entries, k->entry_cap * sizeof(*k->entries));
	}
	memmove(&k->entries[i + 1], &k->entries[i], (k->entry_count - i) * sizeof(*k->entries));
	k->entry_count++;
	k->entries[i] = xcalloc(1, sizeof(struct entry));
	k->entries[i]->name = xstrdup(name);
	return k->entries[i];
}

/* WEIR_EIO: what it holds is not known. */
static int read_pub(const char *path, struct buf *out, char **ret_why)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	ssize_t n = -1;
	int rc = WEIR_EIO;
	if (fd < 0 || fstat(fd, &st)) {
		*ret_why = xasprintf("%s: %s", path, strerror(errno));
	} else if (!S_ISREG(st.st_mode) || st.st_size > KEYS_FILE_MAX) {
		*ret_why = xasprintf("%s is no file of public keys", path);
		rc = WEIR_EINVAL;
	} else if (st.st_mode & WORLD_WRITE) {
		*ret_why = xasprintf("everybody may write %s, and so become who it names: chmod o-w it", path);
		rc = WEIR_EINVAL;
	} else if ((n = read(fd, buf_reserve(out, KEYS_FILE_MAX), KEYS_FILE_MAX)) < 0) {
		*ret_why = xasprintf("%s: %s", path, strerror(errno));
	} else {
		out->len = (size_t)n;
		rc = 0;
	}
	if (fd >= 0)
		close(fd);
	return rc;
}

/* True: it holds other keys now. */
static bool load_pub(struct keys *k, struct entry *e)
{
	char *path = xasprintf("%s/%s" PUB_TAIL, k->dir, e->name), *why = NULL;
	struct buf text = {0};
	struct key_text keys[KEYS_PER_NAME_MAX];
	size_t count = 0;
	unsigned line = 0;
	bool changed = false;
	int rc = read_pub(path, &text, &why);
	if (!rc && keys_parse(bytes_of(text.data, text.len), keys, KEYS_PER_NAME_MAX, &count, &line)) {
		rc = WEIR_EINVAL;
		why = xasprintf("%s: line %u is no public key, or one too many (at most %d, each of %d characters)", path, line,
		    KEYS_PER_NAME_MAX, KEY_TEXT);
	}
	bool told = e->unread && rc == WEIR_EIO;
	e->fine = !rc;
	e->unread = rc == WEIR_EIO;
	if (rc) {
		if (!told)
			report_broken(k, xasprintf("%s; what it held before stands", why));
	} else {
		changed = count != e->count || memcmp(keys, e->keys, count * sizeof(keys[0])) != 0;
		memcpy(e->keys, keys, count * sizeof(keys[0]));
		e->count = count;
	}
	free(why);
	buf_free(&text);
	free(path);
	return changed;
}

/* A clock tick may hold two changes: what changed just now is looked at once more. */
static bool is_settled(const struct file_sign *s)
{
	int64_t now_s = clock_wall_ns() / NS_PER_SEC;
	return now_s - s->mtime.tv_sec > 1 || now_s < s->mtime.tv_sec;
}

/* Looks at one file; true: it holds other keys now. */
static bool look_at(struct keys *k, struct entry *e, int dir)
{
	struct stat st;
	char *file = xasprintf("%s" PUB_TAIL, e->name);
	bool there = !fstatat(dir, file, &st, 0), changed = false;
	struct file_sign sign = there ? sign_of(&st) : (struct file_sign){0};
	free(file);
	if (there && !same_sign(&sign, &e->sign)) {
		e->sign = sign;
		changed = load_pub(k, e);
		if (e->unread || (!is_settled(&sign) && e->fine))
			e->sign = (struct file_sign){0};
	}
	return changed;
}

static bool is_name(const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char c = text[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-'))
			return false;
	}
	return n > 0 && n <= NAME_MAX_BYTES && text[0] != '.';
}

static bool drop_unlisted(struct keys *k)
{
	size_t kept = 0;
	for (size_t i = 0; i < k->entry_count; i++) {
		if (k->entries[i]->listed)
			k->entries[kept++] = k->entries[i];
		else
			entry_free(k->entries[i]);
	}
	bool changed = kept != k->entry_count;
	k->entry_count = kept;
	return changed;
}

/* A key that was removed is one that is not listed: this is tried with each poll. */
static void list_later(struct keys *k, int err)
{
	if (!k->dir_unread)
		report_broken(k, xasprintf("%s: %s; the keys that it held stand", k->dir, strerror(err)));
	k->dir_unread = true;
	k->dir_sign.size = -1;
}

/* Who is listed in the folder, each looked at. */
static bool list_folder(struct keys *k, int dir)
{
	int fd = fcntl(dir, F_DUPFD_CLOEXEC, 0);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	bool changed = false, full = false;
	if (!d) {
		list_later(k, errno);
		if (fd >= 0)
			close(fd);
		return false;
	}
	rewinddir(d);
	for (size_t i = 0; i < k->entry_count; i++)
		k->entries[i]->listed = false;
	for (struct dirent *at; errno = 0, (at = readdir(d));) {
		size_t n = strlen(at->d_name), tail = strlen(PUB_TAIL);
		if (n <= tail || strcmp(at->d_name + n - tail, PUB_TAIL) || !is_name(at->d_name, n - tail))
			continue;
		char *name = xstrndup(at->d_name, n - tail);
		struct entry *e = entry_get(k, name);
		free(name);
		full = full || !e;
		if (!e)
			continue;
		e->listed = true;
		changed = look_at(k, e, dir) || changed;
	}
	int err = errno;
	closedir(d);
	if (full)
		report_broken(k, xasprintf("%s holds more than %d .pub files: some are not read", k->dir, KEYS_NAMES_MAX));
	if (err) {
		list_later(k, err);
		return changed;
	}
	k->dir_unread = false;
	return drop_unlisted(k) || changed;
}

static int compare_owners(const void *a, const void *b)
{
	const struct owner *x = a, *y = b;
	return memcmp(x->key->text, y->key->text, KEY_TEXT);
}

/* A key that two names claim is nobody's. */
static void refuse_doubles(struct keys *k)
{
	size_t kept = 0;
	for (size_t i = 0, next; i < k->owner_count; i = next) {
		bool same = true;
		for (next = i + 1; next < k->owner_count && !compare_owners(&k->owners[i], &k->owners[next]); next++)
			same = same && !strcmp(k->owners[i].name, k->owners[next].name);
		if (same)
			k->owners[kept++] = k->owners[i];
		else
			report_broken(k, xasprintf("%s: %s" PUB_TAIL " and %s" PUB_TAIL " hold the same key: it is taken from neither",
			    k->dir, k->owners[i].name, k->owners[next - 1].name));
	}
	k->owner_count = kept;
}

static void index_owners(struct keys *k)
{
	size_t n = 0;
	for (size_t i = 0; i < k->entry_count; i++)
		n += k->entries[i]->count;
	k->owners = xrealloc(k->owners, (n ? n : 1) * sizeof(*k->owners));
	k->owner_count = 0;
	for (size_t i = 0; i < k->entry_count; i++)
		for (size_t j = 0; j < k->entries[i]->count; j++)
			k->owners[k->owner_count++] = (struct owner){&k->entries[i]->keys[j], k->entries[i]->name};
	if (k->owner_count)
		qsort(k->owners, k->owner_count, sizeof(*k->owners), compare_owners);
	refuse_doubles(k);
}

static bool scan(struct keys *k)
{
	struct stat st;
	int dir = open(k->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || fstat(dir, &st)) {
		if (k->dir_sign.ino)
			report_broken(k, xasprintf("%s: %s; the keys that it held stand", k->dir, strerror(errno)));
		k->dir_sign = (struct file_sign){0};
		if (dir >= 0)
			close(dir);
		return false;
	}
	struct file_sign sign = sign_of(&st);
	bool changed = false;
	if (!same_sign(&sign, &k->dir_sign)) {
		k->dir_sign = is_settled(&sign) ? sign : (struct file_sign){.ino = sign.ino};
		changed = list_folder(k, dir);
	}
	for (size_t i = 0; i < k->entry_count && i < KEYS_STATS_PER_POLL_MAX; i++) {
		k->next = (k->next + 1) % k->entry_count;
		changed = look_at(k, k->entries[k->next], dir) || changed;
	}
	close(dir);
	if (changed)
		index_owners(k);
	return changed;
}

/* ---- open, poll --------------------------------------------------------------------------------------------------- */

/* A folder that everybody may write is one in which everybody may put a key. */
static int check_folder(const struct keys *k, char **ret_why)
{
	struct stat st;
	if (stat(k->dir, &st)) {
		*ret_why = strcmp(k->dir, k->own_dir) ? xasprintf("%s: %s", k->dir, strerror(errno))
		                                      : xasprintf("cluster.security.keys: %s: %s. `weirctl keygen` makes the keys of a topology", k->dir, strerror(errno));
		return errno == ENOENT ? WEIR_ENOTFOUND : WEIR_EIO;
	}
	if (!S_ISDIR(st.st_mode) || (st.st_mode & WORLD_WRITE)) {
		*ret_why = S_ISDIR(st.st_mode) ? xasprintf("everybody may write into %s, and so become anybody: chmod o-w it", k->dir)
		                               : xasprintf("the folder of keys %s is no folder", k->dir);
		return WEIR_EINVAL;
	}
	return 0;
}

/* A pair that does not fit its own .pub would be refused by everybody, without a word why. */
static int check_own(const struct keys *k, char **ret_why)
{
	const struct key_text *own;
	size_t n = keys_of(k, k->name, &own);
	for (size_t i = 0; i < n; i++) {
		if (!strcmp(own[i].text, k->public.text))
			return 0;
	}
	if (!n)
		return 0;
	*ret_why = xasprintf("%s/%s" PUB_TAIL " does not hold the public key of %s (%s): others would refuse this daemon", k->dir,
	    k->name, k->own_path, k->public.text);
	return WEIR_EINVAL;
}

int keys_open(const struct keys_options *o, struct keys **ret_keys, char **ret_why)
{
	weir_assert(sodium_init() >= 0);
	struct keys *k = xcalloc(1, sizeof(*k));
	k->dir = xstrdup(o->dir);
	k->own_dir = xstrdup(o->own_dir ? o->own_dir : o->dir);
	k->name = xstrdup(o->name);
	k->arg = o->arg;
	k->report = o->report;
	int rc = check_folder(k, ret_why);
	if (!rc)
		rc = load_own(k, ret_why);
	if (!rc) {
		scan(k);
		rc = check_own(k, ret_why);
	}
	if (rc) {
		keys_free(k);
		return rc;
	}
	*ret_keys = k;
	return 0;
}

int keys_check(const char *dir, const char *name, char **ret_why)
{
	struct keys *k;
	int rc = dir ? keys_open(&(struct keys_options){.dir = dir, .name = name}, &k, ret_why) : 0;
	if (dir && !rc)
		keys_free(k);
	return rc;
}

void keys_free(struct keys *k)
{
	if (!k)
		return;
	for (size_t i = 0; i < k->entry_count; i++)
		entry_free(k->entries[i]);
	free(k->entries);
	free(k->owners);
	free(k->own_path);
	free(k->own_dir);
	free(k->dir);
	free(k->name);
	sodium_memzero(k, sizeof(*k));
	free(k);
}

static bool poll_own(struct keys *k)
{
	struct stat st;
	char *path = own_path(k), *why = NULL;
	struct file_sign sign = stat(path, &st) ? (struct file_sign){0} : sign_of(&st);
	struct key_text before = k->public;
	bool same = same_sign(&sign, &k->own_sign) && !strcmp(path, k->own_path);
	free(path);
	if (same)
		return false;
	int rc = load_own(k, &why);
	if (rc && !(rc == WEIR_EIO && k->own_unread))
		report_broken(k, xasprintf("%s; the key that is in use stands", why));
	k->own_unread = rc == WEIR_EIO;
	if (k->own_unread)
		k->own_sign = (struct file_sign){0};
	free(why);
	return strcmp(before.text, k->public.text) != 0;
}

void keys_poll(struct keys *k, struct keys_change *ret_change)
{
	ret_change->own = poll_own(k);
	ret_change->others = scan(k);
	k->counters.changes += ret_change->own || ret_change->others;
}

const char *keys_name(const struct keys *k)
{
	return k->name;
}

const struct key_text *keys_public(const struct keys *k)
{
	return &k->public;
}

const struct key_text *keys_secret(const struct keys *k)
{
	return &k->secret;
}

size_t keys_of(const struct keys *k, const char *name, const struct key_text **ret_keys)
{
	bool found;
	size_t i = find_place(k, name, &found);
	*ret_keys = found ? k->entries[i]->keys : NULL;
	return found ? k->entries[i]->count : 0;
}

const char *keys_owner(const struct keys *k, const char *key)
{
	size_t low = 0, high = k->owner_count;
	if (strlen(key) != KEY_TEXT)
		return NULL;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = memcmp(k->owners[mid].key->text, key, KEY_TEXT);
		if (!c)
			return k->owners[mid].name;
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

bool keys_owns(const struct keys *k, const char *name, const char *key)
{
	const char *owner = keys_owner(k, key);
	return owner && !strcmp(owner, name);
}

void keys_counters(const struct keys *k, struct keys_counters *ret)
{
	*ret = k->counters;
	ret->names = k->entry_count;
	ret->keys = k->owner_count;
}
