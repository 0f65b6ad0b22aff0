#include "common/gzip.h"

#include <limits.h>
#include <stdlib.h>

#include <zlib.h>

#include "common/err.h"

#define WINDOW_BITS (15 + 16) /* the largest window; 16: gzip's frame, not zlib's */
#define MEMORY_LEVEL 8        /* zlib's default */

struct gzip_reader {
	z_stream z;
	struct bytes left; /* not given to zlib yet: its counts are 32 bits wide */
	bool between;      /* members: here the end is no cut */
};

struct gzip_reader *gzip_reader_new(void)
{
	struct gzip_reader *g = xcalloc(1, sizeof(*g));
	int rc = inflateInit2(&g->z, WINDOW_BITS);
	weir_assert(rc == Z_OK); /* else there is no memory */
	return g;
}

void gzip_reader_free(struct gzip_reader *g)
{
	if (!g)
		return;
	inflateEnd(&g->z);
	free(g);
}

void gzip_begin(struct gzip_reader *g, struct bytes packed)
{
	inflateReset(&g->z);
	g->z.avail_in = 0;
	g->left = packed;
	g->between = false;
}

static uInt at_most(size_t n)
{
	return n < UINT_MAX ? (uInt)n : UINT_MAX;
}

static void give_input(struct gzip_reader *g)
{
	if (g->z.avail_in || !g->left.n)
		return;
	g->z.next_in = (Bytef *)(uintptr_t)g->left.p;
	g->z.avail_in = at_most(g->left.n);
	g->left = bytes_of(g->left.p + g->z.avail_in, g->left.n - g->z.avail_in);
}

int gzip_read(struct gzip_reader *g, void *room, size_t len, size_t *ret_n)
{
	uInt size = at_most(len);
	g->z.next_out = room;
	g->z.avail_out = size;
	while (g->z.avail_out == size) {
		give_input(g);
		if (!g->z.avail_in && g->between)
			break;
		g->between = false;
		int rc = inflate(&g->z, Z_NO_FLUSH);
		if (rc == Z_STREAM_END) {
			inflateReset(&g->z); /* keeps its place in the input */
			g->between = true;
		} else if (rc == Z_BUF_ERROR && !g->z.avail_in && !g->left.n) {
			return WEIR_ETRUNCATED;
		} else if (rc != Z_OK) {
			return WEIR_ECORRUPT;
		}
	}
	*ret_n = size - g->z.avail_out;
	return 0;
}

void gzip_pack(const void *p, size_t n, struct buf *out)
{
	z_stream z = {0};
	int rc = deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, WINDOW_BITS, MEMORY_LEVEL, Z_DEFAULT_STRATEGY);
	weir_assert(rc == Z_OK && n <= UINT_MAX);
	uLong room = deflateBound(&z, (uLong)n);
	weir_assert(room <= UINT_MAX);
	z.next_in = (Bytef *)(uintptr_t)p;
	z.avail_in = (uInt)n;
	z.next_out = buf_reserve(out, room);
	z.avail_out = (uInt)room;
	rc = deflate(&z, Z_FINISH);
	weir_assert(rc == Z_STREAM_END);
	out->len += room - z.avail_out;
	deflateEnd(&z);
}
