#include "edged/permit.h"

#include "common/err.h"

static bool names_program(const struct edge_conf *e, const struct exec_conf *exec)
{
	bool found = false;
	for (size_t i = 0; i < e->source_count && !found; i++)
		found = e->sources[i].type == SOURCE_EXEC && model_texts_same(&e->sources[i].exec.command, &exec->command) &&
		    model_texts_same(&e->sources[i].exec.env, &exec->env);
	return found;
}

int permit_source(const struct source_conf *s, const struct topology *local, char **ret_why)
{
	bool found = s->type != SOURCE_EXEC;
	for (size_t i = 0; local && i < local->edge_count && !found; i++)
		found = names_program(&local->edges[i], &s->exec);
	if (found)
		return 0;
	*ret_why = xasprintf("source %s: the cluster's topology wants this machine to run `%s`, which its own topology file does not "
	                     "name with the same command and env: put it there, or start edged with --allow-exec",
	    s->name, s->exec.command.items[0]);
	return WEIR_EINVAL;
}
