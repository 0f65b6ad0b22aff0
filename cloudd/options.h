/* What cloudd's command line takes and its help says; tools/describe makes its manual page and completions of the same. */
#ifndef WEIR_CLOUDD_OPTIONS_H
#define WEIR_CLOUDD_OPTIONS_H

#include "common/args.h"

extern const struct arg_program cloudd_program;

#endif
