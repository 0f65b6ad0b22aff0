/* The memory of one decoded protobuf message: zeroed, capped, freed at once. For common/codec* only. */
#ifndef WEIR_COMMON_CODEC_ARENA_H
#define WEIR_COMMON_CODEC_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <protobuf-c/protobuf-c.h>

struct arena_chunk;
struct arena {
	struct arena_chunk *chunks;
	size_t total;
	size_t max;  /* bytes in all */
	size_t step; /* of a new chunk, at least: grows with the message, so that a large one needs few */
	bool over;   /* the cap refused an allocation */
};

/* For a message of n bytes. */
struct arena *arena_new(size_t max, size_t n);
void *arena_alloc(struct arena *a, size_t size); /* NULL: over the cap */
void arena_free(struct arena *a);                /* NULL is fine */
/* Allocates from the arena and frees nothing: protobuf-c frees pieces while it decodes. */
ProtobufCAllocator arena_allocator(struct arena *a);

#endif
