/* Certificates and tokens as files: made, read, exchanged while in use, over real TLS connections. */
#include <arpa/inet.h>
#include <check.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/err.h"
#include "common/http.h"
#include "common/http_auth.h"
#include "common/secret.h"
#include "common/tls_make.h"

#define NOW_S INT64_C(1800000000)

static char dir[64];
static struct tls_pem ca;

static char *in_dir(const char *name)
{
	static char path[4][128];
	static unsigned at;
	at = (at + 1) % 4;
	snprintf(path[at], sizeof(path[at]), "%s/%s", dir, name);
	return path[at];
}

static void put(const char *name, const void *bytes, size_t len)
{
	char *why = NULL;
	int rc = secret_write(in_dir(name), bytes, len, false, &why);
	ck_assert_msg(!rc, "%s", why);
}

static void put_node(const char *name, const struct tls_pem *authority)
{
	const char *hosts[] = {"127.0.0.1", name};
	struct tls_pem p;
	char *why = NULL, file[64];
	ck_assert_int_eq(tls_make_node(authority, name, hosts, 2, NOW_S, &p, &why), 0);
	snprintf(file, sizeof(file), "%s.tls.key", name);
	put(file, p.key.data, p.key.len);
	snprintf(file, sizeof(file), "%s.tls.crt", name);
	put(file, p.crt.data, p.crt.len);
	tls_pem_free(&p);
}

/* The file of tokens with one of each role; ret: their texts. */
static void put_tokens(char text[3][TOKEN_TEXT_BYTES], unsigned count)
{
	struct buf b = {0};
	for (unsigned i = 0; i < count; i++) {
		struct token t = {.role = (enum token_role)(TOKEN_READ + i)};
		snprintf(t.name, sizeof(t.name), "%s", token_role_text(t.role));
		token_hash(text[i], strlen(text[i]), t.hash);
		token_put(&t, &b);
	}
	put(TOKENS_FILE, b.data ? (const char *)b.data : "", b.len);
	buf_free(&b);
}

static char token[3][TOKEN_TEXT_BYTES];

static void setup(void)
{
	char *why = NULL;
	snprintf(dir, sizeof(dir), "/tmp/weir-auth-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(tls_make_ca("plant", NULL, NOW_S, &ca, &why), 0);
	put_node("n1", &ca);
	for (int i = 0; i < 3; i++) {
		uint8_t hash[TOKEN_HASH_BYTES];
		token_make(token[i], hash);
	}
	put_tokens(token, 3);
}

static void teardown(void)
{
	tls_pem_free(&ca);
	unlink(in_dir("n1.tls.key"));
	unlink(in_dir("n1.tls.crt"));
	unlink(in_dir(TOKENS_FILE));
	ck_assert_int_eq(rmdir(dir), 0);
}

/* ---- certificates --------------------------------------------------------------------------------------------- */

static gnutls_x509_crt_t import(const struct buf *pem)
{
	gnutls_x509_crt_t c;
	gnutls_datum_t d = {pem->data, (unsigned)pem->len};
	ck_assert_int_eq(gnutls_x509_crt_init(&c), 0);
	ck_assert_int_eq(gnutls_x509_crt_import(c, &d, GNUTLS_X509_FMT_PEM), 0);
	return c;
}

START_TEST(certificates_name_their_hosts_and_nothing_else)
{
	const char *hosts[] = {"10.1.2.3", "n1", "weir.example.org"};
	struct tls_pem p, other;
	char *why = NULL;
	ck_assert_int_eq(tls_make_node(&ca, "n1", hosts, 3, NOW_S, &p, &why), 0);
	gnutls_x509_crt_t c = import(&p.crt), authority = import(&ca.crt);
	for (int i = 0; i < 3; i++)
		ck_assert(gnutls_x509_crt_check_hostname2(c, hosts[i], GNUTLS_VERIFY_DO_NOT_ALLOW_WILDCARDS));
	ck_assert(!gnutls_x509_crt_check_hostname(c, "10.1.2.4"));
	ck_assert(!gnutls_x509_crt_check_hostname(c, "n2"));
	ck_assert_int_eq(gnutls_x509_crt_get_ca_status(c, NULL), 0);
	ck_assert_int_gt(gnutls_x509_crt_get_ca_status(authority, NULL), 0);
	unsigned verdict = 1;
	ck_assert_int_eq(gnutls_x509_crt_verify(c, &authority, 1, GNUTLS_VERIFY_DISABLE_TIME_CHECKS, &verdict), 0);
	ck_assert_uint_eq(verdict, 0);
	ck_assert_int_eq(gnutls_x509_crt_get_expiration_time(c), NOW_S + INT64_C(86400) * TLS_NODE_DAYS);
	ck_assert_int_lt(gnutls_x509_crt_get_activation_time(c), NOW_S);
	gnutls_x509_crt_deinit(c);
	tls_pem_free(&p);
	/* near its authority's end it does not outlive it */
	ck_assert_int_eq(tls_make_node(&ca, "n1", hosts, 1, NOW_S + INT64_C(86400) * (TLS_CA_DAYS - 1), &p, &why), 0);
	c = import(&p.crt);
	ck_assert_int_eq(gnutls_x509_crt_get_expiration_time(c), gnutls_x509_crt_get_expiration_time(authority));
	gnutls_x509_crt_deinit(c);
	gnutls_x509_crt_deinit(authority);
	tls_pem_free(&p);
	/* a key of another authority signs nothing */
	ck_assert_int_eq(tls_make_ca("plant", NULL, NOW_S, &other, &why), 0);
	struct tls_pem mixed = {ca.crt, other.key};
	ck_assert_int_eq(tls_make_node(&mixed, "n1", hosts, 1, NOW_S, &p, &why), WEIR_EINVAL);
	free(why);
	tls_pem_free(&other);
}
END_TEST

/* An authority whose certificate was lost is the same one again: what it signed before stands. */
START_TEST(an_authority_is_made_again_of_its_key)
{
	const char *hosts[] = {"n1"};
	struct buf none = {0};
	struct tls_pem again, p;
	char *why = NULL;
	unsigned verdict = 1;
	ck_assert_int_eq(tls_make_node(&ca, "n1", hosts, 1, NOW_S, &p, &why), 0);
	ck_assert_int_eq(tls_make_ca("plant", &ca.key, NOW_S + 5, &again, &why), 0);
	gnutls_x509_crt_t c = import(&p.crt), authority = import(&again.crt);
	ck_assert_int_eq(gnutls_x509_crt_verify(c, &authority, 1, GNUTLS_VERIFY_DISABLE_TIME_CHECKS, &verdict), 0);
	ck_assert_uint_eq(verdict, 0);
	gnutls_x509_crt_deinit(c);
	gnutls_x509_crt_deinit(authority);
	tls_pem_free(&p);
	ck_assert_int_eq(tls_make_node(&again, "n1", hosts, 1, NOW_S, &p, &why), 0);
	tls_pem_free(&p);
	tls_pem_free(&again);
	buf_printf(&none, "no key");
	ck_assert_int_eq(tls_make_ca("plant", &none, NOW_S, &again, &why), WEIR_EINVAL);
	buf_free(&none);
	free(why);
}
END_TEST

/* Which is taken: the credential of this name, of any, DIR's. */
START_TEST(credentials_go_before_the_folder)
{
	static const char *const names[] = {"n1", "weir", "n1"};
	static const char *const tails[] = {".tls.crt", ".tls.key"};
	char folder[64] = "/tmp/weir-credentials-XXXXXX", path[128];
	ck_assert_ptr_nonnull(mkdtemp(folder));
	setenv("CREDENTIALS_DIRECTORY", folder, 1);
	for (int round = 0; round < 3; round++) { /* DIR has it, weir, n1: each is broken by the next */
		for (int t = 0; round && t < 2; t++) {
			char *why = NULL;
			snprintf(path, sizeof(path), "%s/%s%s", folder, names[round], tails[t]);
			ck_assert_int_eq(secret_write(path, "x", 1, false, &why), 0);
		}
		struct http_auth *a = NULL;
		char *why = NULL;
		int rc = http_auth_open(dir, "n1", &a, &why);
		ck_assert_int_eq(rc, round ? WEIR_EINVAL : 0);
		snprintf(path, sizeof(path), "%s/%s.tls", folder, names[round]);
		ck_assert(!round || strstr(why, path));
		free(why);
		http_auth_close(a);
	}
	for (int i = 0; i < 2; i++)
		for (int t = 0; t < 2; t++) {
			snprintf(path, sizeof(path), "%s/%s%s", folder, names[i], tails[t]);
			unlink(path);
		}
	rmdir(folder);
	unsetenv("CREDENTIALS_DIRECTORY");
}
END_TEST

static void expect_refused(const char *within)
{
	struct http_auth *a = NULL;
	char *why = NULL;
	ck_assert_int_eq(http_auth_open(dir, "n1", &a, &why), WEIR_EINVAL);
	ck_assert_msg(strstr(why, within) != NULL, "%s", why);
	free(why);
	why = NULL;
	ck_assert_int_eq(http_check("127.0.0.1:1", dir, "n1", &why), WEIR_EINVAL);
	free(why);
}

START_TEST(what_is_missing_or_open_to_others_is_refused)
{
	char *why = NULL;
	ck_assert_int_eq(http_check("10.1.2.3:80", dir, "n1", &why), 0);
	ck_assert_int_eq(http_check("10.1.2.3:80", NULL, "n1", &why), WEIR_EINVAL);
	ck_assert_ptr_nonnull(strstr(why, "weirctl keygen"));
	free(why);
	ck_assert_int_eq(chmod(in_dir("n1.tls.key"), 0644), 0);
	expect_refused("chmod 600");
	ck_assert_int_eq(chmod(in_dir("n1.tls.key"), 0600), 0);
	ck_assert_int_eq(chmod(in_dir(TOKENS_FILE), 0640), 0);
	expect_refused("chmod 600");
	unlink(in_dir(TOKENS_FILE));
	expect_refused("weirctl token add");
	put_tokens(token, 3);
	put(TOKENS_FILE, "x", 1);
	expect_refused("line 1");
	put_tokens(token, 3);
	put("n1.tls.key", ca.key.data, ca.key.len);
	expect_refused("no certificate with its key");
	unlink(in_dir("n1.tls.key"));
	expect_refused("weirctl keygen");
	put_node("n1", &ca);
	put("n1.tls.crt", "rubbish", 7);
	expect_refused("no certificate with its key");
}
END_TEST

static void expect_poll(struct http_auth *a, bool changed, const char *within, bool bad)
{
	char *notice = NULL;
	bool is_bad = false;
	ck_assert(http_auth_poll(a, &notice, &is_bad) == changed);
	ck_assert_msg(within ? notice && strstr(notice, within) : !notice, "%s", notice);
	ck_assert(is_bad == bad);
	free(notice);
}

static unsigned role_of(struct http_auth *a, const char *text)
{
	uint8_t hash[TOKEN_HASH_BYTES];
	token_hash(text, strlen(text), hash);
	return http_auth_role(a, hash);
}

START_TEST(files_are_exchanged_while_in_use)
{
	struct http_auth *a;
	char *why = NULL;
	ck_assert_int_eq(http_auth_open(dir, "n1", &a, &why), 0);
	expect_poll(a, false, NULL, false);
	ck_assert_uint_eq(role_of(a, token[2]), TOKEN_ADMIN);
	ck_assert_uint_eq(role_of(a, "nobody's"), 0);
	put_tokens(token, 2);
	expect_poll(a, true, "count=2", false);
	expect_poll(a, false, NULL, false);
	ck_assert_uint_eq(role_of(a, token[2]), 0);
	ck_assert_uint_eq(role_of(a, token[1]), TOKEN_WRITE);
	put(TOKENS_FILE, "x", 1); /* broken: told once, and nothing changes */
	expect_poll(a, false, "the old ones stay", true);
	expect_poll(a, false, NULL, false);
	ck_assert_uint_eq(role_of(a, token[1]), TOKEN_WRITE);
	unlink(in_dir(TOKENS_FILE));
	expect_poll(a, false, "the old ones stay", true);
	put_tokens(token, 0);
	expect_poll(a, true, "count=0", false);
	ck_assert_uint_eq(role_of(a, token[1]), 0);
	int64_t expires_s = tls_server_expires_s(http_auth_tls(a));
	put("n1.tls.key", ca.key.data, ca.key.len); /* half of an exchange */
	expect_poll(a, false, "the old one stays", true);
	put("n1.tls.crt", ca.crt.data, ca.crt.len);
	expect_poll(a, false, "read again", false);
	expect_poll(a, false, NULL, false);
	ck_assert_int_ne(tls_server_expires_s(http_auth_tls(a)), expires_s);
	http_auth_close(a);
}
END_TEST

START_TEST(what_could_not_be_read_is_read_later)
{
	struct http_auth *a;
	char *why = NULL;
	struct rlimit before, few;
	ck_assert_int_eq(http_auth_open(dir, "n1", &a, &why), 0);
	put_tokens(token, 2); /* the third is taken back while there is no descriptor left */
	put_node("n1", &ca);
	int next = open("/dev/null", O_RDONLY);
	close(next);
	ck_assert(!getrlimit(RLIMIT_NOFILE, &before));
	few = before;
	few.rlim_cur = (rlim_t)next;
	ck_assert(!setrlimit(RLIMIT_NOFILE, &few));
	expect_poll(a, false, "the old ones stay", true);
	expect_poll(a, false, "the old one stays", true);
	expect_poll(a, false, NULL, true);
	ck_assert_uint_eq(role_of(a, token[2]), TOKEN_ADMIN);
	ck_assert(!setrlimit(RLIMIT_NOFILE, &before));
	expect_poll(a, true, "count=2", false);
	ck_assert_uint_eq(role_of(a, token[2]), 0);
	expect_poll(a, false, "read again", false);
	expect_poll(a, false, NULL, false);
	http_auth_close(a);
}
END_TEST

START_TEST(headers_carry_tokens_in_three_ways)
{
	uint8_t expected[TOKEN_HASH_BYTES], hash[TOKEN_HASH_BYTES];
	token_hash("weir_x", 6, expected);
	static const char *const fine[] = {"Bearer weir_x", "bearer  weir_x", "Token weir_x", "Basic YTp3ZWlyX3g=", "Basic OndlaXJfeA=="};
	for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++) {
		ck_assert_msg(!token_hash_of_header(fine[i], hash), "%s", fine[i]);
		ck_assert_mem_eq(hash, expected, sizeof(hash));
	}
	static const char *const bad[] = {"", "weir_x", "Digest weir_x", "Bearerweir_x", "Basic !!", "Basic d2Vpcl94"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(token_hash_of_header(bad[i], hash) == WEIR_EINVAL, "%s", bad[i]);
	char *long_one = xasprintf("Bearer %02000d", 0);
	ck_assert_int_eq(token_hash_of_header(long_one, hash), WEIR_EINVAL);
	free(long_one);
}
END_TEST

/* ---- over TLS ------------------------------------------------------------------------------------------------- */

static struct http_server *server;

static void handle(void *arg, struct http_request *r)
{
	(void)arg;
	http_reply(r, 200, HTTP_TEXT, "fine", 4);
}

static const struct http_route routes[] = {
    {"GET", "/open", false, handle, HTTP_OPEN, true, 0},
    {"GET", "/read", false, handle, HTTP_READ, false, 0},
    {"POST", "/write", false, handle, HTTP_WRITE, false, 100},
    {"POST", "/admin", false, handle, HTTP_ADMIN, false, 0},
};

static void open_server(struct loop *loop)
{
	struct http_options o = {.listen = "127.0.0.1:0", .loop = loop, .routes = routes,
	    .route_count = sizeof(routes) / sizeof(routes[0]), .keys_dir = dir, .name = "n1"};
	char *why = NULL;
	int rc = http_open(&o, &server, &why);
	ck_assert_msg(!rc, "%s", why);
}

struct exchange {
	const char *priorities, *request;
	struct buf answer;
	struct buf crt;      /* what the server showed, DER */
	bool shaken;
	struct loop_async *done;
};

static void talk(gnutls_session_t session, struct exchange *x)
{
	char piece[1000];
	ssize_t n;
	int rc;
	do {
		rc = gnutls_handshake(session);
	} while (rc < 0 && !gnutls_error_is_fatal(rc));
	x->shaken = rc == 0;
	if (rc)
		return;
	const gnutls_datum_t *peer = gnutls_certificate_get_peers(session, &(unsigned){0});
	buf_put(&x->crt, peer->data, peer->size);
	gnutls_record_send(session, x->request, strlen(x->request));
	while ((n = gnutls_record_recv(session, piece, sizeof(piece))) > 0)
		buf_put(&x->answer, piece, (size_t)n);
}

static void *run_exchange(void *arg)
{
	struct exchange *x = arg;
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(http_port(server))};
	gnutls_session_t session;
	gnutls_certificate_credentials_t credentials;
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	ck_assert_int_eq(gnutls_certificate_allocate_credentials(&credentials), 0);
	ck_assert_int_eq(gnutls_init(&session, GNUTLS_CLIENT), 0);
	ck_assert_int_eq(gnutls_priority_set_direct(session, x->priorities, NULL), 0);
	gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials);
	gnutls_transport_set_int(session, fd);
	talk(session, x);
	gnutls_deinit(session);
	gnutls_certificate_free_credentials(credentials);
	close(fd);
	if (x->done)
		loop_async_send(x->done);
	return NULL;
}

static void stop_loop(void *arg)
{
	loop_stop(arg);
}

/* Free answer and crt. loop: the server's, or NULL. */
static struct exchange ask(struct loop *loop, const char *priorities, const char *request)
{
	struct exchange x = {.priorities = priorities, .request = request};
	pthread_t thread;
	x.done = loop ? loop_async_new(loop, stop_loop, loop) : NULL;
	ck_assert_int_eq(pthread_create(&thread, NULL, run_exchange, &x), 0);
	if (loop)
		loop_run(loop);
	pthread_join(thread, NULL);
	if (loop)
		loop_async_free(x.done);
	return x;
}

/* status: any of these, one after the other. Which of them it was. */
static unsigned expect_one_of(struct loop *loop, const char *line, const char *header, const char *text, const char *status)
{
	char *request = xasprintf("%s HTTP/1.1\r\nHost: n1\r\nConnection: close\r\n%s%s\r\n\r\n", line, header, text);
	struct exchange x = ask(loop, "NORMAL", request);
	const char *answer = buf_cstr(&x.answer);
	unsigned got = strncmp(answer, "HTTP/1.1 ", 9) ? 0 : (unsigned)strtoul(answer + 9, NULL, 10);
	char code[8];
	snprintf(code, sizeof(code), "%03u", got);
	ck_assert_msg(strstr(status, code) != NULL, "%s: %s", request, answer);
	if (got == 401)
		ck_assert_msg(strstr(answer, "WWW-Authenticate: Bearer") && strstr(answer, "{\"error\""), "%s", answer);
	buf_free(&x.answer);
	buf_free(&x.crt);
	free(request);
	return got;
}

static void expect(struct loop *loop, const char *line, const char *header, const char *text, const char *status)
{
	(void)expect_one_of(loop, line, header, text, status);
}

#define BEARER "Authorization: Bearer "
#define EMPTY "Content-Length: 0\r\n"

static void check_roles(struct loop *loop)
{
	expect(loop, "GET /open", "X: y", "", "200");
	expect(loop, "GET /read", "X: y", "", "401");
	expect(loop, "GET /read", BEARER, "weir_wrong", "401");
	expect(loop, "GET /nothing", "X: y", "", "401");
	expect(loop, "GET /nothing", BEARER, token[0], "404");
	expect(loop, "GET /read", BEARER, token[0], "200");
	expect(loop, "HEAD /read", BEARER, token[0], "200");
	expect(loop, "POST /write", EMPTY BEARER, token[0], "403");
	expect(loop, "POST /write", EMPTY BEARER, token[1], "200");
	expect(loop, "POST /admin", EMPTY BEARER, token[1], "403");
	expect(loop, "POST /admin", EMPTY BEARER, token[2], "200");
	expect(loop, "GET /read", BEARER, token[2], "200");
	expect(loop, "POST /admin", EMPTY "Origin: https://n1\r\n" BEARER, token[2], "200");
	expect(loop, "POST /admin", EMPTY "Origin: https://evil.example\r\n" BEARER, token[2], "403");
	expect(loop, "POST /admin", EMPTY "Origin: null\r\n" BEARER, token[2], "403");
	struct http_counters c;
	http_counters(server, &c);
	ck_assert_uint_eq(c.denied[HTTP_NO_TOKEN], 2);
	ck_assert_uint_eq(c.denied[HTTP_BAD_TOKEN], 1);
	ck_assert_uint_eq(c.denied[HTTP_ROLE], 2);
	ck_assert_uint_eq(c.denied[HTTP_CROSS_ORIGIN], 2);
	for (int i = 1; i < HTTP_GUARD_FAILURES; i++)
		expect(loop, "GET /read", BEARER, "weir_wrong", "401");
	/* How many exactly: test_http_guard. One more is let through each HTTP_GUARD_FAILURE_MS, and handshakes take their time. */
	for (int i = 0; expect_one_of(loop, "GET /read", BEARER, "weir_wrong", "401 429") != 429; i++)
		ck_assert_int_lt(i, 100);
	expect(loop, "GET /read", BEARER, token[0], "200"); /* who has a token is not locked out by who has none */
}

START_TEST(roles_hold_with_threads)
{
	open_server(NULL);
	check_roles(NULL);
	http_close(server);
}
END_TEST

START_TEST(roles_hold_on_a_loop)
{
	struct loop *loop;
	ck_assert_int_eq(loop_new(&loop), 0);
	open_server(loop);
	check_roles(loop);
	http_close(server);
	loop_free(loop);
}
END_TEST

START_TEST(old_versions_and_plain_text_are_refused)
{
	open_server(NULL);
	struct exchange x = ask(NULL, "NORMAL:-VERS-ALL:+VERS-TLS1.2", "GET /open HTTP/1.0\r\n\r\n");
	ck_assert(x.shaken && x.answer.len);
	buf_free(&x.answer);
	buf_free(&x.crt);
	x = ask(NULL, "LEGACY:-VERS-ALL:+VERS-TLS1.1:+VERS-TLS1.0", "GET /open HTTP/1.0\r\n\r\n");
	ck_assert(!x.shaken && !x.answer.len);
	x = ask(NULL, "NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+RSA", "GET /open HTTP/1.0\r\n\r\n");
	ck_assert(!x.shaken);
	http_close(server);
}
END_TEST

START_TEST(a_handshake_takes_the_newest_certificate)
{
	struct tls_server *t;
	char *why = NULL;
	open_server(NULL);
	struct exchange before = ask(NULL, "NORMAL", "GET /open HTTP/1.0\r\n\r\n");
	http_close(server);
	put_node("n1", &ca);
	open_server(NULL);
	struct exchange after = ask(NULL, "NORMAL", "GET /open HTTP/1.0\r\n\r\n");
	ck_assert(before.crt.len != after.crt.len || memcmp(before.crt.data, after.crt.data, after.crt.len));
	buf_free(&before.answer);
	buf_free(&before.crt);
	buf_free(&after.answer);
	buf_free(&after.crt);
	http_close(server);
	ck_assert_int_eq(tls_server_new(in_dir("n1.tls.crt"), in_dir("n1.tls.key"), 0, &t, &why), 0);
	for (int i = 0; i < 5; i++) /* those retired are kept for a while, then freed: the sanitizer would tell */
		ck_assert_int_eq(tls_server_reload(t, &why), 0);
	tls_server_free(t);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("common/http_auth");
	TCase *tc = tcase_create("auth");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, certificates_name_their_hosts_and_nothing_else);
	tcase_add_test(tc, an_authority_is_made_again_of_its_key);
	tcase_add_test(tc, what_is_missing_or_open_to_others_is_refused);
	tcase_add_test(tc, credentials_go_before_the_folder);
	tcase_add_test(tc, files_are_exchanged_while_in_use);
	tcase_add_test(tc, what_could_not_be_read_is_read_later);
	tcase_add_test(tc, headers_carry_tokens_in_three_ways);
	tcase_add_test(tc, roles_hold_with_threads);
	tcase_add_test(tc, roles_hold_on_a_loop);
	tcase_add_test(tc, old_versions_and_plain_text_are_refused);
	tcase_add_test(tc, a_handshake_takes_the_newest_certificate);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
