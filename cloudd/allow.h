/* Who may say what: one rule for each frame that comes through the ROUTER, before anything else looks at it. Pure.
 *
 *   who              who holds the key of the connection; "" without keys: then everybody is who the frame says
 *   a cloud node     may send everything, as itself: requests of edges that it forwards, too
 *   an edge          may send the requests of edges, as itself and about itself
 *   anybody else     whose key is here, though the topology has no such name: may ask, as itself, who this is and for the map, so that a
 *                    node that was removed finds that out, and one that is not added yet that it is to be; nothing else
 *
 * An edge that was revoked is heard through nobody, whether the topology has it or not. */
#ifndef WEIR_CLOUDD_ALLOW_H
#define WEIR_CLOUDD_ALLOW_H

#include "common/codec.h"
#include "common/model.h"

enum allow {
	ALLOW,
	ALLOW_NOT_KEY,      /* the key of its connection is nobody's any more */
	ALLOW_NOT_KNOWN,    /* a key of a name that is not in the topology */
	ALLOW_NOT_FROM,     /* the frame says that it is from somebody else */
	ALLOW_NOT_FOR_EDGE, /* an edge, with what only nodes may say */
	ALLOW_NOT_ABOUT,    /* an edge, about another one */
	ALLOW_NOT_REVOKED,  /* from or about an edge that was revoked */
	ALLOW_RESULTS
};

/* who: NULL for ALLOW_NOT_KEY (then m is not looked at). */
enum allow allow_frame(const struct topology *t, const char *who, const struct msg *m);
const char *allow_label(enum allow a);  /* "key", "unknown_name" ...: a label's value */
const char *allow_reason(enum allow a); /* for people: in answers */

#endif
