/* Pace: how often something large is given out. The same version to each asker once in PACE_EVERY_MS; to all together PACE_BYTES_PER_S on
 * average, with as much at once, so that what waits to be sent stays bounded when a whole fleet asks. Who is told no asks again.
 *
 * Askers and versions are told apart by PACE_SLOTS hashes: two that share one wait for each other. Pure. */
#ifndef WEIR_CLOUDD_PACE_H
#define WEIR_CLOUDD_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PACE_EVERY_MS 200
#define PACE_BYTES_PER_S (64 * 1024 * 1024)
#define PACE_SLOTS 4096

struct pace;

struct pace *pace_new(void);
void pace_free(struct pace *p); /* NULL is fine */
/* Whether who may have so many bytes now; they count as given. 0: not counted among the bytes of all. */
bool pace_may(struct pace *p, const char *who, uint64_t version, size_t bytes, int64_t mono_ns);

#endif
