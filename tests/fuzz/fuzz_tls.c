/* Files of certificates: what a server takes it can show, and an authority that is taken signs: [length varint][certificates][key]. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/err.h"
#include "common/tls_make.h"
#include "common/tls_server.h"
#include "tests/fuzz/fuzz.h"

#define NOW_S INT64_C(1800000000)

struct memory_file {
	int fd;
	char path[32];
};

static void put(struct memory_file *f, struct bytes b)
{
	if (!f->path[0]) {
		f->fd = memfd_create("weir-fuzz", MFD_CLOEXEC);
		FUZZ_CHECK(f->fd >= 0 && !fchmod(f->fd, 0600));
		snprintf(f->path, sizeof(f->path), "/proc/self/fd/%d", f->fd);
	}
	FUZZ_CHECK(!ftruncate(f->fd, 0) && pwrite(f->fd, b.p, b.n, 0) == (ssize_t)b.n);
}

static void serve(struct bytes crt, struct bytes key)
{
	static struct memory_file crt_file, key_file;
	struct tls_server *t;
	char *why = NULL;
	put(&crt_file, crt);
	put(&key_file, key);
	int rc = tls_server_new(crt_file.path, key_file.path, 0, &t, &why);
	if (!rc) {
		(void)tls_server_expires_s(t);
		FUZZ_CHECK(!tls_server_reload(t, &why));
		tls_server_free(t);
	} else {
		FUZZ_CHECK(why && (rc == WEIR_EINVAL || rc == WEIR_ETOOBIG));
	}
	free(why);
}

static void sign(struct bytes crt, struct bytes key)
{
	static const char *const hosts[] = {"127.0.0.1", "cloud-1.example"};
	struct tls_pem ca = {{0}, {0}}, node;
	char *why = NULL;
	buf_put(&ca.crt, crt.p, crt.n);
	buf_put(&ca.key, key.p, key.n);
	int rc = tls_make_node(&ca, "cloud-1", hosts, 2, NOW_S, &node, &why);
	FUZZ_CHECK(!rc || (rc == WEIR_EINVAL && why));
	if (!rc) {
		serve(fuzz_bytes(&node.crt), fuzz_bytes(&node.key));
		tls_pem_free(&node);
	}
	free(why);
	tls_pem_free(&ca);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct rd r = rd_init(data, len);
	size_t n;
	const uint8_t *crt = rd_bytes(&r, len, &n);
	struct bytes key = bytes_of(r.p, rd_left(&r));
	if (!crt)
		return 0;
	serve(bytes_of(crt, n), key);
	sign(bytes_of(crt, n), key);
	return 0;
}
