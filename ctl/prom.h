/* What weirctl asks of /metrics of the daemons (common/prom_text reads it). Whatever does not read is skipped. Pure. */
#ifndef WEIR_CTL_PROM_H
#define WEIR_CTL_PROM_H

#include <stdbool.h>
#include <stddef.h>

#include "common/prom_text.h"

/* The next sample from *at, which moves behind it; false at the end. */
bool prom_next(const char **at, struct prom_sample *ret);
bool prom_is(const struct prom_sample *s, const char *name);
/* The value of a label, unescaped, cut to what fits in size (> 0); false, and "", where there is none. */
bool prom_label(const struct prom_sample *s, const char *label, char *out, size_t size);
/* The sum of all samples of this name; label not NULL: of those where it has this value. 0 where there is none; text NULL is none. */
double prom_sum(const char *text, const char *name, const char *label, const char *value);
bool prom_has(const char *text, const char *name);

#endif
