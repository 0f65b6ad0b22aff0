#include "common/codec_arena.h"

#include <stdint.h>
#include <stdlib.h>

#include "common/err.h"

#define CHUNK_BYTES 4096

struct arena_chunk {
	struct arena_chunk *next;
	size_t size, used;
	_Alignas(max_align_t) uint8_t data[];
};

struct arena *arena_new(size_t max, size_t n)
{
	struct arena *a = xcalloc(1, sizeof(*a));
	a->max = max;
	a->step = CHUNK_BYTES + 2 * n;
	return a;
}

void *arena_alloc(struct arena *a, size_t size)
{
	if (size > a->max) {
		a->over = true;
		return NULL;
	}
	size = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
	if (!a->chunks || a->chunks->size - a->chunks->used < size) {
		size_t left = a->max - a->total, room = size > a->step ? size : a->step;
		if (size > left) {
			a->over = true;
			return NULL;
		}
		room = room < left ? room : left;
		struct arena_chunk *c = xcalloc(1, sizeof(*c) + room);
		*c = (struct arena_chunk){.next = a->chunks, .size = room};
		a->chunks = c;
		a->total += room;
	}
	void *p = a->chunks->data + a->chunks->used;
	a->chunks->used += size;
	return p;
}

static void *pb_alloc(void *arena, size_t size)
{
	return arena_alloc(arena, size);
}

static void pb_free(void *arena, void *p)
{
	(void)arena;
	(void)p;
}

ProtobufCAllocator arena_allocator(struct arena *a)
{
	return (ProtobufCAllocator){pb_alloc, pb_free, a};
}

void arena_free(struct arena *a)
{
	while (a && a->chunks) {
		struct arena_chunk *next = a->chunks->next;
		free(a->chunks);
		a->chunks = next;
	}
	free(a);
}
