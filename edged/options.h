/* What edged's command line takes and its help says; tools/describe makes its manual page and completions of the same. */
#ifndef WEIR_EDGED_OPTIONS_H
#define WEIR_EDGED_OPTIONS_H

#include "common/args.h"

extern const struct arg_program edged_program;

#endif
