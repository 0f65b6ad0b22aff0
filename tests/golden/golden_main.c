/* golden write FOLDER | check FOLDER | sum FOLDER: one version's golden files. ./dev golden runs it. */
#include <stdio.h>
#include <string.h>

#include "common/err.h"
#include "tests/golden/golden.h"

int main(int argc, char **argv)
{
	struct buf wrong = {0};
	char sum[17];
	if (argc != 3) {
		fprintf(stderr, "usage: golden write|check|sum FOLDER\n");
		return 2;
	}
	bool ok = true;
	if (!strcmp(argv[1], "write")) {
		ok = golden_write(argv[2], &wrong);
	} else if (!strcmp(argv[1], "check")) {
		ok = golden_check_frames(argv[2], &wrong);
		ok = golden_check_databases(argv[2], &wrong) && ok;
	} else {
		golden_sum(argv[2], sum);
		printf("%s\n", sum);
	}
	fputs(buf_cstr(&wrong), stderr);
	buf_free(&wrong);
	return ok ? 0 : 1;
}
