/* What a topology that came over the network may have this machine do. Whoever may change the cluster's topology (role admin) decides
 * what edges measure, not which programs run on gateways: a program is run only where this machine's own file names it. */
#ifndef WEIR_EDGED_PERMIT_H
#define WEIR_EDGED_PERMIT_H

#include "common/model.h"

/* local: what this machine's own file says; NULL: it cannot be read. 0, or WEIR_EINVAL with *ret_why, the caller's to free. */
int permit_source(const struct source_conf *s, const struct topology *local, char **ret_why);

#endif
