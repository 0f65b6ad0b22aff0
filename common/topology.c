#include "common/topology.h"

#include <stdlib.h>
#include <string.h>

#include "common/conf.h"
#include "common/err.h"
#include "common/topology_parts.h"

#define SHARDS_DEFAULT 8
#define PARTITIONED_AFTER_DEFAULT (60 * NS_PER_SEC)
#define REPLACE_AFTER_DEFAULT (600 * NS_PER_SEC)

#define FIELDS(table) (table), sizeof(table) / sizeof((table)[0])

static void read_version(struct conf *c, const struct conf_node *value, void *object)
{
	(void)object;
	uint64_t version;
	if (conf_uint(c, value, 0, UINT32_MAX, &version) && version != TOPOLOGY_VERSION)
		conf_error(c, value, "version %s is not known here: this Weir reads version %d",
		    conf_quote(c, value->text), TOPOLOGY_VERSION);
}

static void read_security(struct conf *c, const struct conf_node *value, void *object)
{
	struct topology *t = object;
	static const struct conf_field fields[] = {
		{.key = "keys", .kind = CONF_KIND_TEXT, .required = true, .offset = offsetof(struct topology, keys_dir)}};
	static const struct conf_schema schema = {sizeof(struct topology), FIELDS(fields), NULL, NULL, NULL};
	if (value->type == CONF_MAP)
		conf_read(c, value, &schema, t);
	else if (value->type != CONF_BROKEN && (value->type != CONF_SCALAR || strcmp(value->text, "none")))
		conf_error(c, value, "expected none or {keys: DIR}");
}

static const struct conf_field cluster_fields[] = {
	{.key = "name", .kind = CONF_KIND_NAME, .required = true, .offset = offsetof(struct topology, cluster)},
	{.key = "shards", .kind = CONF_KIND_U32, .offset = offsetof(struct topology, shards), .min = 1, .max = SHARDS_MAX},
	{.key = "replicas", .kind = CONF_KIND_U32, .offset = offsetof(struct topology, replicas), .min = 1,
	    .max = REPLICAS_MAX},
	{.key = "security", .kind = CONF_KIND_CUSTOM, .read = read_security},
	{.key = "partitioned_after", .kind = CONF_KIND_DURATION, .offset = offsetof(struct topology, partitioned_after_ns),
	    .min = 10 * NS_PER_MS, .max = DURATION_MAX_NS},
	{.key = "replace_after", .kind = CONF_KIND_DURATION, .offset = offsetof(struct topology, replace_after_ns),
	    .min = 10 * NS_PER_MS, .max = DURATION_MAX_NS},
};
static const struct conf_schema cluster_schema = {sizeof(struct topology), FIELDS(cluster_fields), NULL, NULL, NULL};

static const struct conf_field cloud_fields[] = {
	{.key = "name", .kind = CONF_KIND_NAME, .required = true, .offset = offsetof(struct cloud_conf, name)},
	{.key = "listen", .kind = CONF_KIND_TEXT, .required = true, .offset = offsetof(struct cloud_conf, listen)},
	{.key = "http", .kind = CONF_KIND_TEXT, .required = true, .offset = offsetof(struct cloud_conf, http)},
	{.key = "data", .kind = CONF_KIND_TEXT, .offset = offsetof(struct cloud_conf, data)},
};
static const struct conf_schema cloud_schema = {sizeof(struct cloud_conf), FIELDS(cloud_fields), NULL, NULL, NULL};

static void root_defaults(void *object)
{
	struct topology *t = object;
	t->shards = SHARDS_DEFAULT;
	t->partitioned_after_ns = PARTITIONED_AFTER_DEFAULT;
	t->replace_after_ns = REPLACE_AFTER_DEFAULT;
}

static const struct conf_field root_fields[] = {
	{.key = "version", .kind = CONF_KIND_CUSTOM, .required = true, .read = read_version},
	{.key = "cluster", .kind = CONF_KIND_MAP, .required = true, .schema = &cluster_schema},
	{.key = "cloud", .kind = CONF_KIND_LIST, .required = true, .offset = offsetof(struct topology, clouds),
	    .count_offset = offsetof(struct topology, cloud_count), .schema = &cloud_schema, .min = 1, .max = CLOUDS_MAX},
	{.key = "edges", .kind = CONF_KIND_LIST, .offset = offsetof(struct topology, edges),
	    .count_offset = offsetof(struct topology, edge_count), .schema = &topology_edge_schema, .max = EDGES_MAX},
	{.key = "streams", .kind = CONF_KIND_LIST, .offset = offsetof(struct topology, streams),
	    .count_offset = offsetof(struct topology, stream_count), .schema = &topology_stream_schema,
	    .max = STREAMS_MAX},
	{.key = "sinks", .kind = CONF_KIND_LIST, .offset = offsetof(struct topology, sinks),
	    .count_offset = offsetof(struct topology, sink_count), .schema = &topology_sink_schema, .max = SINKS_MAX},
};
static const struct conf_schema root_schema = {sizeof(struct topology), FIELDS(root_fields), root_defaults, NULL, NULL};

/* Takes *path over, and gives it back relative to the topology file's folder. */
static void resolve(const char *topology_path, char **path)
{
	const char *slash = strrchr(topology_path, '/');
	if (!*path || **path == '/' || !slash)
		return;
	char *joined = xasprintf("%.*s/%s", (int)(slash - topology_path), topology_path, *path);
	free(*path);
	*path = joined;
}

static void resolve_paths(struct topology *t)
{
	resolve(t->path, &t->keys_dir);
	for (size_t i = 0; i < t->cloud_count; i++)
		resolve(t->path, &t->clouds[i].data);
	for (size_t i = 0; i < t->edge_count; i++)
		resolve(t->path, &t->edges[i].data);
}

/* Sources that serve themselves do it as their edge does. */
static void share_keys(struct topology *t)
{
	for (size_t i = 0; i < t->edge_count; i++) {
		struct edge_conf *e = &t->edges[i];
		for (size_t k = 0; k < e->source_count; k++) {
			e->sources[k].http.keys_dir = t->keys_dir;
			e->sources[k].http.node = e->name;
		}
	}
}

/* What conf holds, into a topology; conf is freed. */
static int finish(struct conf *c, const char *path, struct topology **ret_topology, struct buf *errors)
{
	struct topology *t = xcalloc(1, sizeof(*t));
	t->path = xstrdup(path);
	const char *text = conf_source(c, &t->text_len);
	t->text = text ? xstrndup(text, t->text_len) : NULL;
	const struct conf_node *root = conf_root(c);
	if (root) {
		conf_read(c, root, &root_schema, t);
		topology_check(c, root, t);
	}
	int err = conf_error_count(c) ? WEIR_EINVAL : 0;
	if (err) {
		conf_errors(c, errors);
		topology_free(t);
	} else {
		resolve_paths(t);
		share_keys(t);
		*ret_topology = t;
	}
	conf_free(c);
	return err;
}

int topology_load(const char *path, struct topology **ret_topology, struct buf *errors)
{
	struct conf *c = conf_new(path);
	conf_load(c);
	return finish(c, path, ret_topology, errors);
}

int topology_parse(const char *path, const void *text, size_t len, struct topology **ret_topology, struct buf *errors)
{
	struct conf *c = conf_new(path);
	conf_parse(c, text, len);
	return finish(c, path, ret_topology, errors);
}
