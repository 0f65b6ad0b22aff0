/* tls renew: new certificates for HTTP, before the old ones expire. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/tls_make.h"
#include "common/topology.h"
#include "ctl/ctl.h"
#include "ctl/keygen_tls.h"

static const struct arg_option options[] = {
	{"config", 'c', "FILE", false, "the topology"},
	{"keys", 0, "DIR", false, "the folder of the keys, where it is not that of the topology"},
	{"host", 0, "NAME", true, "another name or address that the daemon is reached by; may be repeated"},
};

static int renew(const struct topology *t, const struct args *args)
{
	const char *hosts[TLS_NAMES_MAX], *dir = args_get(args, "keys") ? args_get(args, "keys") : t->keys_dir;
	struct keygen_tls k = {.dir = dir, .only = args->word_count ? args->words[0] : NULL, .renew = true, .hosts = hosts};
	if (!dir)
		return ctl_bad_use(&command_tls_renew, "%s has `security: none`: nothing there speaks TLS", t->path);
	for (; k.host_count < TLS_NAMES_MAX && args_nth(args, "host", k.host_count); k.host_count++)
		hosts[k.host_count] = args_nth(args, "host", k.host_count);
	if (k.host_count && !k.only)
		return ctl_bad_use(&command_tls_renew, "--host is of one daemon: which?");
	struct buf told = {0}, error = {0};
	int rc = keygen_tls(t, &k, &told, &error);
	if (!rc && !told.len) {
		buf_printf(&error, "%s has no http address: it needs no certificate", k.only ? k.only : t->path);
		rc = WEIR_ENOTFOUND;
	}
	ctl_print(&told);
	if (rc)
		ctl_error("%s", buf_cstr(&error));
	buf_free(&told);
	buf_free(&error);
	return rc ? EXIT_FAILED : EXIT_FINE;
}

static int run_renew(struct ctl *ctl, const struct args *args)
{
	(void)ctl;
	const char *config = args_get(args, "config");
	struct topology *t;
	struct buf errors = {0};
	int result = EXIT_USE;
	if (!config)
		return ctl_bad_use(&command_tls_renew, "--config FILE is missing");
	if (topology_load(config, &t, &errors)) {
		fputs(buf_cstr(&errors), stderr);
	} else {
		result = renew(t, args);
		topology_free(t);
	}
	buf_free(&errors);
	return result;
}

const struct command command_tls_renew = {
	.name = "tls renew", .words = "[NODE]", .summary = "new certificates for HTTP, signed by the cluster's authority",
	.help = "Runs where ca.key is kept. Prints the files that it made; give NODE.tls.key and NODE.tls.crt to the daemon's machine, which\n"
		"takes them within a second, without a restart. Without NODE: for all daemons with an http address.\n\n"
		"  weirctl tls renew --config topology.yaml\n"
		"  weirctl tls renew cloud-1 --host c1.example --config topology.yaml\n",
	.options = options, .option_count = sizeof(options) / sizeof(options[0]),
	.words_min = 0, .words_max = 1, .offline = true, .run = run_renew};
