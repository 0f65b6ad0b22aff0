/* Topologies of tests, from text: taken, or refused with a reason. */
#ifndef WEIR_TESTS_UNIT_COMMON_TOPOLOGY_LIB_H
#define WEIR_TESTS_UNIT_COMMON_TOPOLOGY_LIB_H

#include "common/topology.h"

/* Taken; the caller's to topology_free(). */
struct topology *good(const char *text);
/* Refused, with why in what is said. */
void refused(const char *text, const char *why);

#endif
