#include "cloudd/links.h"

#include <stdlib.h>
#include <string.h>

#include "common/err.h"

struct link {
	struct links *links;
	uint32_t node;
	char *address, *name; /* that it is connected to, and whose key it shows; NULL: not */
	struct msgq_socket *socket;
};

struct links {
	struct msgq *msgq;
	uint32_t self;
	links_frame_fn *fn;
	void *arg;
	struct link nodes[CLOUDS_MAX];
};

static void on_frame(void *arg, struct bytes route, const char *who, const void *frame, size_t len)
{
	struct link *k = arg;
	(void)route;
	(void)who; /* the node that was connected to: its key was shown */
	k->links->fn(k->links->arg, k->node, frame, len);
}

struct links *links_new(struct msgq *m, uint32_t self, links_frame_fn *fn, void *arg)
{
	struct links *l = xcalloc(1, sizeof(*l));
	l->msgq = m;
	l->self = self;
	l->fn = fn;
	l->arg = arg;
	for (uint32_t i = 0; i < CLOUDS_MAX; i++)
		l->nodes[i] = (struct link){.links = l, .node = i};
	return l;
}

static void disconnect(struct link *k)
{
	msgq_close(k->socket);
	k->socket = NULL;
	free(k->address);
	free(k->name);
	k->address = k->name = NULL;
}

void links_free(struct links *l)
{
	if (!l)
		return;
	for (uint32_t i = 0; i < CLOUDS_MAX; i++)
		disconnect(&l->nodes[i]);
	free(l);
}

static int update(struct link *k, const char *address, const char *name, char **ret_why)
{
	if (k->address && address && !strcmp(k->address, address) && !strcmp(k->name, name))
		return 0;
	disconnect(k);
	if (!address)
		return 0;
	int rc = msgq_connect(k->links->msgq, address, name, on_frame, k, &k->socket, ret_why);
	if (!rc) {
		k->address = xstrdup(address);
		k->name = xstrdup(name);
	}
	return rc;
}

int links_set_topology(struct links *l, const struct topology *t, char **ret_why)
{
	int first = 0;
	for (uint32_t i = 0; i < t->cloud_count; i++) {
		const struct cloud_conf *c = &t->clouds[i];
		char *why = NULL;
		int rc = update(&l->nodes[i], i == l->self || c->state == CLOUD_GONE ? NULL : c->listen, c->name, &why);
		if (rc && !first) {
			first = rc;
			*ret_why = why;
			why = NULL;
		}
		free(why);
	}
	return first;
}

int links_send(struct links *l, uint32_t node, const void *frame, size_t len)
{
	if (node >= CLOUDS_MAX || !l->nodes[node].socket)
		return WEIR_ENOTFOUND;
	return msgq_send(l->nodes[node].socket, frame, len);
}
