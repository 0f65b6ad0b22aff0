#include "common/tls_make.h"

#include <arpa/inet.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/err.h"
#include "common/secret.h"

#define DAY_S 86400
#define BACKDATED_S 3600 /* for clocks that are behind */
#define SERIAL_BYTES 16

void tls_pem_free(struct tls_pem *p)
{
	buf_free(&p->crt);
	secret_free(&p->key);
}

static int explain(int rc, const char *what, char **ret_why)
{
	if (rc >= 0)
		return 0;
	*ret_why = xasprintf("%s: %s", what, gnutls_strerror(rc));
	return WEIR_EINVAL;
}

/* A certificate's parts that both kinds share. */
static int fill_in(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key, const char *name, int64_t from_s, int64_t to_s)
{
	uint8_t serial[SERIAL_BYTES], id[20];
	size_t id_len = sizeof(id);
	int rc = gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof(serial));
	serial[0] = (uint8_t)((serial[0] & 0x7f) | 1); /* positive, and of full length */
	if (rc >= 0)
		rc = gnutls_x509_crt_set_version(crt, 3);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_serial(crt, serial, sizeof(serial));
	if (rc >= 0)
		rc = gnutls_x509_crt_set_activation_time(crt, (time_t)from_s);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_expiration_time(crt, (time_t)to_s);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, name, (unsigned)strlen(name));
	if (rc >= 0)
		rc = gnutls_x509_crt_set_key(crt, key);
	if (rc >= 0)
		rc = gnutls_x509_crt_get_key_id(crt, 0, id, &id_len);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_subject_key_id(crt, id, id_len);
	return rc;
}

static int export_pem(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key, struct tls_pem *ret)
{
	gnutls_datum_t c, k;
	int rc = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &c);
	if (rc < 0)
		return rc;
	rc = gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN, &k);
	if (rc >= 0) {
		*ret = (struct tls_pem){0};
		buf_put(&ret->crt, c.data, c.size);
		buf_put(&ret->key, k.data, k.size);
		explicit_bzero(k.data, k.size);
		gnutls_free(k.data);
	}
	gnutls_free(c.data);
	return rc;
}

static void make_empty(gnutls_x509_crt_t *crt, gnutls_x509_privkey_t *key)
{
	weir_assert(gnutls_x509_crt_init(crt) == 0); /* these fail for want of memory only */
	weir_assert(gnutls_x509_privkey_init(key) == 0);
}

static int make_key(gnutls_x509_privkey_t key)
{
	return gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
}

static int import_key(gnutls_x509_privkey_t key, const struct buf *pem)
{
	gnutls_datum_t k = {pem->data, (unsigned)pem->len};
	return gnutls_x509_privkey_import2(key, &k, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN);
}

int tls_make_ca(const char *cluster, const struct buf *own_key, int64_t now_s, struct tls_pem *ret_ca, char **ret_why)
{
	gnutls_x509_crt_t crt;
	gnutls_x509_privkey_t key;
	char *name = xasprintf("Weir cluster %.40s", cluster); /* a common name has 64 characters at most */
	make_empty(&crt, &key);
	int rc = own_key ? import_key(key, own_key) : make_key(key);
	if (rc >= 0)
		rc = fill_in(crt, key, name, now_s - BACKDATED_S, now_s + (int64_t)TLS_CA_DAYS * DAY_S);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_basic_constraints(crt, 1, 0);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN);
	if (rc >= 0)
		rc = gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0);
	if (rc >= 0)
		rc = export_pem(crt, key, ret_ca);
	gnutls_x509_crt_deinit(crt);
	gnutls_x509_privkey_deinit(key);
	free(name);
	return explain(rc, "the cluster's authority cannot be made", ret_why);
}

static int add_host(gnutls_x509_crt_t crt, const char *host)
{
	struct in_addr ip;
	if (inet_pton(AF_INET, host, &ip) == 1)
		return gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, &ip, sizeof(ip), GNUTLS_FSAN_APPEND);
	return gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, host, (unsigned)strlen(host), GNUTLS_FSAN_APPEND);
}

static int import_ca(const struct tls_pem *ca, gnutls_x509_crt_t crt, gnutls_x509_privkey_t key)
{
	gnutls_datum_t c = {ca->crt.data, (unsigned)ca->crt.len};
	uint8_t of_crt[64], of_key[64];
	size_t n = sizeof(of_crt), m = sizeof(of_key);
	int rc = gnutls_x509_crt_import(crt, &c, GNUTLS_X509_FMT_PEM);
	if (rc >= 0)
		rc = import_key(key, &ca->key);
	if (rc >= 0)
		rc = gnutls_x509_crt_get_key_id(crt, 0, of_crt, &n);
	if (rc >= 0)
		rc = gnutls_x509_privkey_get_key_id(key, 0, of_key, &m);
	if (rc >= 0 && (n != m || memcmp(of_crt, of_key, n)))
		rc = GNUTLS_E_CERTIFICATE_KEY_MISMATCH;
	return rc;
}

static int issue(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key, gnutls_x509_crt_t ca, gnutls_x509_privkey_t ca_key,
    const char *name, const char *const *hosts, size_t host_count, int64_t now_s)
{
	uint8_t id[64];
	size_t id_len = sizeof(id);
	int64_t to_s = now_s + (int64_t)TLS_NODE_DAYS * DAY_S, ca_to_s = gnutls_x509_crt_get_expiration_time(ca);
	int rc = fill_in(crt, key, name, now_s - BACKDATED_S, to_s < ca_to_s ? to_s : ca_to_s);
	for (size_t i = 0; i < host_count && rc >= 0; i++)
		rc = add_host(crt, hosts[i]);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_basic_constraints(crt, 0, -1);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_DIGITAL_SIGNATURE);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_SERVER, 0);
	if (rc >= 0)
		rc = gnutls_x509_crt_get_subject_key_id(ca, id, &id_len, NULL);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_authority_key_id(crt, id, id_len);
	if (rc >= 0)
		rc = gnutls_x509_crt_sign2(crt, ca, ca_key, GNUTLS_DIG_SHA256, 0);
	return rc;
}

int tls_make_node(const struct tls_pem *ca, const char *name, const char *const *hosts, size_t host_count, int64_t now_s,
    struct tls_pem *ret_node, char **ret_why)
{
	gnutls_x509_crt_t crt, ca_crt;
	gnutls_x509_privkey_t key, ca_key;
	weir_assert(host_count <= TLS_NAMES_MAX);
	make_empty(&crt, &key);
	make_empty(&ca_crt, &ca_key);
	int rc = explain(import_ca(ca, ca_crt, ca_key), "the cluster's authority (ca.crt, ca.key)", ret_why);
	if (!rc) {
		int bad = make_key(key);
		if (bad >= 0)
			bad = issue(crt, key, ca_crt, ca_key, name, hosts, host_count, now_s);
		if (bad >= 0)
			bad = export_pem(crt, key, ret_node);
		rc = explain(bad, name, ret_why);
	}
	gnutls_x509_crt_deinit(crt);
	gnutls_x509_privkey_deinit(key);
	gnutls_x509_crt_deinit(ca_crt);
	gnutls_x509_privkey_deinit(ca_key);
	return rc;
}
