#include "ctl/keygen_tls.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/secret.h"
#include "common/tls_make.h"
#include "ctl/ctl.h"

#define CA_KEY "ca.key"
#define CA_CRT "ca.crt"
#define OWN_HOSTS 4 /* its address, its name, localhost, 127.0.0.1 */

static int give_up(int rc, char *why, struct buf *error)
{
	if (rc)
		buf_printf(error, "%s", why ? why : err_text(rc));
	free(why);
	return rc;
}

/* The key first: a certificate without its key would be of no use, and keep a new one from being made. */
static int write_pair(const char *dir, const char *key, const char *crt, const struct tls_pem *p, bool fresh,
    struct buf *told, struct buf *error)
{
	char *key_path = xasprintf("%s/%s", dir, key), *crt_path = xasprintf("%s/%s", dir, crt), *why = NULL;
	int rc = secret_write(key_path, p->key.data, p->key.len, fresh, &why);
	if (!rc)
		rc = secret_publish(crt_path, p->crt.data, p->crt.len, &why);
	if (!rc)
		buf_printf(told, "%s\n%s\n", key_path, crt_path);
	free(key_path);
	free(crt_path);
	return give_up(rc, why, error);
}

static bool is_there(const char *dir, const char *name)
{
	char *path = xasprintf("%s/%s", dir, name);
	bool there = !access(path, F_OK);
	free(path);
	return there;
}

/* ---- the authority -------------------------------------------------------------------------------------------- */

static int read_crt(const char *path, struct buf *out, char **ret_why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, buf_reserve(out, SECRET_BYTES_MAX), SECRET_BYTES_MAX) : -1;
	if (fd >= 0)
		close(fd);
	if (n < 0) {
		*ret_why = xasprintf("%s cannot be read", path);
		return WEIR_EIO;
	}
	out->len = (size_t)n;
	return 0;
}

static int read_ca(const char *dir, struct tls_pem *ca, struct buf *error)
{
	char *key = xasprintf("%s/%s", dir, CA_KEY), *crt = xasprintf("%s/%s", dir, CA_CRT), *why = NULL;
	int rc = secret_read_as_tool(key, &ca->key, &why);
	if (!rc)
		rc = read_crt(crt, &ca->crt, &why);
	free(key);
	free(crt);
	return give_up(rc, why, error);
}

/* A new one, or what there is only the key of: it was stopped between the two files, or somebody took the certificate away. */
static int make_ca(const struct topology *t, const char *dir, int64_t now_s, struct tls_pem *ca, struct buf *told, struct buf *error)
{
	char *key = xasprintf("%s/%s", dir, CA_KEY), *why = NULL;
	struct buf own = {0};
	bool there = is_there(dir, CA_KEY);
	int rc = there ? secret_read_as_tool(key, &own, &why) : 0;
	if (!rc)
		rc = tls_make_ca(t->cluster, there ? &own : NULL, now_s, ca, &why);
	secret_free(&own);
	free(key);
	rc = give_up(rc, why, error);
	return rc ? rc : write_pair(dir, CA_KEY, CA_CRT, ca, !there, told, error);
}

static int find_ca(const struct topology *t, const char *dir, int64_t now_s, struct tls_pem *ca, struct buf *told,
    struct buf *error)
{
	bool key = is_there(dir, CA_KEY), crt = is_there(dir, CA_CRT);
	if (key && crt)
		return read_ca(dir, ca, error);
	if (crt) {
		buf_printf(error,
		    "%s/%s is there but %s is not: new certificates are made where the cluster's authority is kept, or by your own", dir,
		    CA_CRT, CA_KEY);
		return WEIR_ENOTFOUND;
	}
	return make_ca(t, dir, now_s, ca, told, error);
}

/* ---- daemons -------------------------------------------------------------------------------------------------- */

struct run {
	const struct topology *t;
	const struct keygen_tls *k;
	int64_t now_s;
	struct tls_pem ca; /* empty until it is needed */
	struct buf *told, *error;
};

/* The names that a daemon is reached by; *ret_own is the caller's to free. */
static size_t collect_hosts(const struct run *r, const char *name, const char *http, const char **hosts, char **ret_own)
{
	size_t n = 0;
	*ret_own = xstrndup(http, strcspn(http, ":"));
	if (strcmp(*ret_own, "0.0.0.0") && strcmp(*ret_own, "127.0.0.1") && strcmp(*ret_own, "localhost"))
		hosts[n++] = *ret_own;
	hosts[n++] = name;
	hosts[n++] = "localhost";
	hosts[n++] = "127.0.0.1";
	for (size_t i = 0; i < r->k->host_count && n < TLS_NAMES_MAX; i++)
		hosts[n++] = r->k->hosts[i];
	return n;
}

static int make_one(struct run *r, const char *name, const char *http)
{
	const char *hosts[TLS_NAMES_MAX];
	char *key = xasprintf("%s.tls.key", name), *crt = xasprintf("%s.tls.crt", name), *why = NULL, *own = NULL;
	struct tls_pem p = {0};
	int rc = 0;
	bool there = is_there(r->k->dir, key) && is_there(r->k->dir, crt);
	if (!there || r->k->renew) {
		if (!r->ca.key.len)
			rc = find_ca(r->t, r->k->dir, r->now_s, &r->ca, r->told, r->error);
		if (!rc) {
			size_t n = collect_hosts(r, name, http, hosts, &own);
			rc = give_up(tls_make_node(&r->ca, name, hosts, n, r->now_s, &p, &why), why, r->error);
		}
		if (!rc)
			rc = write_pair(r->k->dir, key, crt, &p, false, r->told, r->error);
	}
	tls_pem_free(&p);
	free(own);
	free(key);
	free(crt);
	return rc;
}

int keygen_tls(const struct topology *t, const struct keygen_tls *k, struct buf *told, struct buf *error)
{
	struct run r = {t, k, clock_wall_ns() / NS_PER_SEC, {{0}, {0}}, told, error};
	bool found = !k->only;
	int rc = 0;
	if (k->host_count > TLS_NAMES_MAX - OWN_HOSTS) {
		buf_printf(error, "more than %d names", TLS_NAMES_MAX - OWN_HOSTS);
		return WEIR_ETOOBIG;
	}
	if (is_there(k->dir, CA_KEY) && !is_there(k->dir, CA_CRT))
		rc = find_ca(t, k->dir, r.now_s, &r.ca, told, error);
	for (size_t i = 0; i < t->cloud_count && !rc; i++) {
		if (k->only && strcmp(k->only, t->clouds[i].name))
			continue;
		rc = make_one(&r, t->clouds[i].name, t->clouds[i].http);
		found = true;
	}
	for (size_t i = 0; i < t->edge_count && !rc; i++) {
		if (k->only && strcmp(k->only, t->edges[i].name))
			continue;
		if (t->edges[i].http)
			rc = make_one(&r, t->edges[i].name, t->edges[i].http);
		found = true;
	}
	if (!rc && !found) {
		buf_printf(error, "no daemon is called %s", k->only);
		rc = WEIR_ENOTFOUND;
	}
	tls_pem_free(&r.ca);
	return rc;
}
