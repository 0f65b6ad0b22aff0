#include "common/http_auth.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/err.h"

/* What changes when a file does. */
struct stamp {
	struct timespec modified, changed;
	off_t size;
	ino_t inode;
};

struct http_auth {
	char *crt, *key, *tokens_path;
	struct stamp crt_stamp, key_stamp, tokens_stamp; /* as last read, with whatever outcome but WEIR_EIO; of one thread */
	bool tls_unread, tokens_unread; /* that was the outcome, and was told: tried with each poll */
	struct tls_server *tls;
	pthread_rwlock_t lock;
	struct tokens *tokens;
};

/* What a unit for any node calls its credentials, in the place of its name. */
#define ANY_NODE "weir"

/* NULL: there is no such file. */
static char *find_in(const char *folder, const char *name, const char *tail)
{
	char *path = xasprintf("%s/%s%s", folder, name, tail);
	if (!access(path, F_OK))
		return path;
	free(path);
	return NULL;
}

/* A file of the folder of the keys; $CREDENTIALS_DIRECTORY (systemd) goes before it, where it has that file. */
static char *find_file(const char *keys_dir, const char *name, const char *tail)
{
	const char *credentials = getenv("CREDENTIALS_DIRECTORY");
	char *path = NULL;
	if (credentials && *credentials) {
		path = find_in(credentials, name, tail);
		if (!path && *tail)
			path = find_in(credentials, ANY_NODE, tail);
	}
	return path ? path : xasprintf("%s/%s%s", keys_dir, name, tail);
}

/* Zeros where there is no file. */
static struct stamp stamp_of(const char *path)
{
	struct stat st;
	if (stat(path, &st))
		return (struct stamp){0};
	return (struct stamp){st.st_mtim, st.st_ctim, st.st_size, st.st_ino};
}

static bool is_changed(const char *path, struct stamp *last)
{
	struct stamp now = stamp_of(path);
	bool same = now.modified.tv_sec == last->modified.tv_sec && now.modified.tv_nsec == last->modified.tv_nsec &&
	    now.changed.tv_sec == last->changed.tv_sec && now.changed.tv_nsec == last->changed.tv_nsec &&
	    now.size == last->size && now.inode == last->inode;
	*last = now;
	return !same;
}

static int read_first(struct http_auth *a, const char *name, char **ret_why)
{
	char *why = NULL;
	a->crt_stamp = stamp_of(a->crt);
	a->key_stamp = stamp_of(a->key);
	a->tokens_stamp = stamp_of(a->tokens_path);
	int rc = tls_server_new(a->crt, a->key, HTTP_HANDSHAKES_PER_S_MAX, &a->tls, &why);
	if (rc) {
		*ret_why = xasprintf("HTTP with TLS needs the certificate of %s: %s%s", name, why,
		    rc == WEIR_ENOTFOUND ? "; `weirctl keygen` makes it" : "");
	} else {
		rc = tokens_read(a->tokens_path, &a->tokens, &why);
		if (rc)
			*ret_why = xasprintf("HTTP with TLS needs tokens: %s%s", why,
			    rc == WEIR_ENOTFOUND ? "; `weirctl token add NAME --role admin` makes the first one" : "");
	}
	free(why);
	return rc == WEIR_ENOTFOUND ? WEIR_EINVAL : rc;
}

int http_auth_open(const char *keys_dir, const char *name, struct http_auth **ret_auth, char **ret_why)
{
	struct http_auth *a = xcalloc(1, sizeof(*a));
	pthread_rwlock_init(&a->lock, NULL);
	a->crt = find_file(keys_dir, name, ".tls.crt");
	a->key = find_file(keys_dir, name, ".tls.key");
	a->tokens_path = find_file(keys_dir, TOKENS_FILE, "");
	int rc = read_first(a, name, ret_why);
	if (rc)
		http_auth_close(a);
	else
		*ret_auth = a;
	return rc;
}

void http_auth_close(struct http_auth *a)
{
	if (!a)
		return;
	tls_server_free(a->tls);
	tokens_free(a->tokens);
	pthread_rwlock_destroy(&a->lock);
	free(a->crt);
	free(a->key);
	free(a->tokens_path);
	free(a);
}

struct tls_server *http_auth_tls(struct http_auth *a)
{
	return a->tls;
}

unsigned http_auth_role(struct http_auth *a, const uint8_t hash[TOKEN_HASH_BYTES])
{
	pthread_rwlock_rdlock(&a->lock);
	const struct token *t = tokens_find(a->tokens, hash);
	unsigned role = t ? t->role : 0;
	pthread_rwlock_unlock(&a->lock);
	return role;
}

/* False: it was told already. */
static bool is_news(int rc, bool *unread)
{
	bool told = *unread && rc == WEIR_EIO;
	*unread = rc == WEIR_EIO;
	return !told;
}

static bool poll_tokens(struct http_auth *a, char **ret_notice, bool *ret_bad)
{
	struct tokens *fresh, *old;
	char *why = NULL;
	if (!is_changed(a->tokens_path, &a->tokens_stamp))
		return false;
	int rc = tokens_read(a->tokens_path, &fresh, &why);
	bool news = is_news(rc, &a->tokens_unread);
	if (rc) {
		if (rc == WEIR_EIO)
			a->tokens_stamp = (struct stamp){0};
		*ret_notice = news ? xasprintf("the tokens cannot be read again, the old ones stay in use: %s", why) : NULL;
		*ret_bad = true;
		free(why);
		return false;
	}
	pthread_rwlock_wrlock(&a->lock);
	old = a->tokens;
	a->tokens = fresh;
	size_t count = tokens_count(fresh);
	pthread_rwlock_unlock(&a->lock);
	tokens_free(old);
	*ret_notice = xasprintf("the tokens were read again; count=%zu", count);
	*ret_bad = false;
	return true;
}

bool http_auth_poll(struct http_auth *a, char **ret_notice, bool *ret_bad)
{
	*ret_notice = NULL;
	bool changed = poll_tokens(a, ret_notice, ret_bad);
	if (*ret_notice)
		return changed; /* the certificate next time */
	bool crt = is_changed(a->crt, &a->crt_stamp), key = is_changed(a->key, &a->key_stamp);
	if (!crt && !key)
		return false;
	char *why = NULL;
	int rc = tls_server_reload(a->tls, &why);
	bool news = is_news(rc, &a->tls_unread);
	if (rc == WEIR_EIO)
		a->crt_stamp = a->key_stamp = (struct stamp){0};
	*ret_bad = rc != 0;
	if (news)
		*ret_notice = rc ? xasprintf("the certificate cannot be read again, the old one stays in use: %s", why)
				 : xasprintf("the certificate was read again; file=%s", a->crt);
	free(why);
	return false;
}
