#include "common/tls_server.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/secret.h"

/* One certificate with its key, never changed. */
struct generation {
	gnutls_pcert_st chain[TLS_CHAIN_MAX];
	unsigned count;
	gnutls_privkey_t key;
	int64_t expires_s;
	int64_t retired_ns;
	struct generation *next; /* older ones, retired */
};

struct tls_server {
	char *crt_path, *key_path;
	pthread_mutex_t mutex;
	struct generation *current;
	unsigned per_s;
	unsigned budget;    /* handshakes left of this second */
	int64_t second_ns;
	uint64_t refused;
};

/* Which server a descriptor belongs to. */
static struct {
	pthread_mutex_t mutex;
	struct tls_server **by_fd;
	size_t cap;
} bound = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* ---- reading -------------------------------------------------------------------------------------------------- */

static int read_public(const char *path, struct buf *out, char **ret_why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	ssize_t n = fd >= 0 ? read(fd, buf_reserve(out, SECRET_BYTES_MAX + 1), SECRET_BYTES_MAX + 1) : -1;
	int err = errno;
	if (fd >= 0)
		close(fd);
	if (n < 0) {
		*ret_why = xasprintf("%s: %s", path, strerror(err));
		return err == ENOENT ? WEIR_ENOTFOUND : WEIR_EIO;
	}
	if (n > SECRET_BYTES_MAX) {
		*ret_why = xasprintf("%s is larger than %d bytes", path, SECRET_BYTES_MAX);
		return WEIR_ETOOBIG;
	}
	out->len = (size_t)n;
	return 0;
}

static void generation_free(struct generation *g)
{
	for (unsigned i = 0; i < g->count; i++)
		gnutls_pcert_deinit(&g->chain[i]);
	gnutls_privkey_deinit(g->key);
	free(g);
}

/* Fails where the key is not the certificate's. */
static int check_pair(const gnutls_datum_t *crt, const gnutls_datum_t *key)
{
	gnutls_certificate_credentials_t both;
	int rc = gnutls_certificate_allocate_credentials(&both);
	if (!rc) {
		rc = gnutls_certificate_set_x509_key_mem2(both, crt, key, GNUTLS_X509_FMT_PEM, NULL, 0);
		gnutls_certificate_free_credentials(both);
	}
	return rc < 0 ? rc : 0;
}

static int import_chain(struct generation *g, const gnutls_datum_t *crt)
{
	gnutls_x509_crt_t first;
	unsigned count = TLS_CHAIN_MAX;
	int rc = gnutls_pcert_list_import_x509_raw(g->chain, &count, crt, GNUTLS_X509_FMT_PEM, 0);
	if (rc < 0)
		return rc;
	g->count = count;
	rc = gnutls_pcert_export_x509(&g->chain[0], &first);
	if (!rc) {
		g->expires_s = gnutls_x509_crt_get_expiration_time(first);
		gnutls_x509_crt_deinit(first);
	}
	return rc;
}

static int read_generation(const char *crt_path, const char *key_path, struct generation **ret, char **ret_why)
{
	struct buf crt = {0}, key = {0};
	struct generation *g = NULL;
	int rc = read_public(crt_path, &crt, ret_why);
	if (!rc)
		rc = secret_read(key_path, &key, ret_why);
	if (!rc) {
		gnutls_datum_t c = {crt.data, (unsigned)crt.len}, k = {key.data, (unsigned)key.len};
		g = xcalloc(1, sizeof(*g));
		weir_assert(gnutls_privkey_init(&g->key) == 0); /* fails for want of memory only */
		int bad = import_chain(g, &c); /* first: GnuTLS 3.7 leaks one of a list that does not read in the other one */
		if (!bad)
			bad = check_pair(&c, &k);
		if (!bad)
			bad = gnutls_privkey_import_x509_raw(g->key, &k, GNUTLS_X509_FMT_PEM, NULL, 0);
		if (bad) {
			*ret_why = xasprintf("%s and %s are no certificate with its key: %s", crt_path, key_path, gnutls_strerror(bad));
			rc = WEIR_EINVAL;
			generation_free(g);
		}
	}
	buf_free(&crt);
	secret_free(&key);
	if (!rc)
		*ret = g;
	return rc;
}

/* ---- the server ----------------------------------------------------------------------------------------------- */

int tls_server_new(const char *crt_path, const char *key_path, unsigned handshakes_per_s, struct tls_server **ret_server,
    char **ret_why)
{
	struct generation *g;
	int rc = read_generation(crt_path, key_path, &g, ret_why);
	if (rc)
		return rc;
	struct tls_server *t = xcalloc(1, sizeof(*t));
	t->crt_path = xstrdup(crt_path);
	t->key_path = xstrdup(key_path);
	t->per_s = handshakes_per_s;
	t->current = g;
	pthread_mutex_init(&t->mutex, NULL);
	*ret_server = t;
	return 0;
}

/* Those retired long enough ago; the current one stays. */
static void free_retired(struct tls_server *t, int64_t now_ns)
{
	for (struct generation **p = &t->current->next; *p;) {
		struct generation *old = *p;
		if (now_ns - old->retired_ns < TLS_RETIRED_KEPT_S * NS_PER_SEC) {
			p = &old->next;
			continue;
		}
		*p = old->next;
		generation_free(old);
	}
}

int tls_server_reload(struct tls_server *t, char **ret_why)
{
	struct generation *g;
	int rc = read_generation(t->crt_path, t->key_path, &g, ret_why);
	if (rc)
		return rc;
	int64_t now_ns = clock_mono_ns();
	pthread_mutex_lock(&t->mutex);
	t->current->retired_ns = now_ns;
	g->next = t->current;
	t->current = g;
	free_retired(t, now_ns);
	pthread_mutex_unlock(&t->mutex);
	return 0;
}

void tls_server_free(struct tls_server *t)
{
	if (!t)
		return;
	for (struct generation *g = t->current, *next; g; g = next) {
		next = g->next;
		generation_free(g);
	}
	pthread_mutex_destroy(&t->mutex);
	free(t->crt_path);
	free(t->key_path);
	free(t);
}

int64_t tls_server_expires_s(struct tls_server *t)
{
	pthread_mutex_lock(&t->mutex);
	int64_t s = t->current->expires_s;
	pthread_mutex_unlock(&t->mutex);
	return s;
}

uint64_t tls_server_refused(struct tls_server *t)
{
	pthread_mutex_lock(&t->mutex);
	uint64_t n = t->refused;
	pthread_mutex_unlock(&t->mutex);
	return n;
}

/* ---- handshakes ----------------------------------------------------------------------------------------------- */

void tls_server_bind(struct tls_server *t, int fd)
{
	size_t at = (size_t)fd;
	pthread_mutex_lock(&bound.mutex);
	if (at >= bound.cap) {
		size_t cap = bound.cap ? bound.cap : 64;
		while (cap <= at)
			cap *= 2;
		bound.by_fd = xrealloc(bound.by_fd, cap * sizeof(*bound.by_fd));
		memset(bound.by_fd + bound.cap, 0, (cap - bound.cap) * sizeof(*bound.by_fd));
		bound.cap = cap;
	}
	bound.by_fd[at] = t;
	pthread_mutex_unlock(&bound.mutex);
}

void tls_server_unbind(int fd)
{
	pthread_mutex_lock(&bound.mutex);
	if ((size_t)fd < bound.cap)
		bound.by_fd[fd] = NULL;
	pthread_mutex_unlock(&bound.mutex);
}

static struct tls_server *find_bound(int fd)
{
	pthread_mutex_lock(&bound.mutex);
	struct tls_server *t = fd >= 0 && (size_t)fd < bound.cap ? bound.by_fd[fd] : NULL;
	pthread_mutex_unlock(&bound.mutex);
	return t; /* its connection is open, so it is not freed */
}

/* Under the mutex. */
static bool may_shake_hands(struct tls_server *t, int64_t now_ns)
{
	if (!t->per_s)
		return true;
	if (now_ns - t->second_ns >= NS_PER_SEC) {
		t->second_ns = now_ns;
		t->budget = t->per_s;
	}
	if (t->budget) {
		t->budget--;
		return true;
	}
	t->refused++;
	return false;
}

static int retrieve(gnutls_session_t session, const gnutls_datum_t *names, int name_count,
    const gnutls_pk_algorithm_t *algorithms, int algorithm_count, gnutls_pcert_st **ret_chain, unsigned *ret_count,
    gnutls_privkey_t *ret_key)
{
	(void)names;
	(void)name_count;
	(void)algorithms;
	(void)algorithm_count;
	struct tls_server *t = find_bound(gnutls_transport_get_int(session));
	if (!t)
		return -1;
	pthread_mutex_lock(&t->mutex);
	bool may = may_shake_hands(t, clock_mono_ns());
	*ret_chain = t->current->chain;
	*ret_count = t->current->count;
	*ret_key = t->current->key;
	pthread_mutex_unlock(&t->mutex);
	return may ? 0 : -1;
}

void *tls_server_callback(void)
{
	gnutls_certificate_retrieve_function2 *f = retrieve;
	return (void *)f;
}
