/* A node's two environments in a temporary folder, for tests. */
#ifndef WEIR_TEST_CLOUD_DISK_H
#define WEIR_TEST_CLOUD_DISK_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cloudd/apply.h"
#include "cloudd/node.h"
#include "common/err.h"
#include "common/kv.h"

struct cloud_disk {
	char folder[64];
	char log_path[80], state_path[80];
	uint32_t shards;
	struct kv *log, *state;
};

static inline struct kv *cloud_disk_env(const char *path, uint32_t shards)
{
	const char **names = apply_db_names(shards);
	struct kv_lmdb_options o = {.path = path, .dbs = names, .db_count = STATE_DBS(shards), .map_bytes = 256 << 20};
	struct kv *kv;
	char *why = NULL;
	if (kv_lmdb_open(&o, &kv, &why))
		ck_abort_msg("%s", why);
	free(names);
	return kv;
}

static inline void cloud_disk_open(struct cloud_disk *d)
{
	d->log = cloud_disk_env(d->log_path, d->shards);
	d->state = cloud_disk_env(d->state_path, d->shards);
}

/* In memory where there is plenty: these tests crash no machine, and need not wait for a disk. */
static inline const char *cloud_disk_place(void)
{
	struct statvfs v;
	bool plenty = !statvfs("/dev/shm", &v) && (uint64_t)v.f_bavail * v.f_frsize >= UINT64_C(2) << 30;
	return plenty && !access("/dev/shm", W_OK) ? "/dev/shm" : "/tmp";
}

static inline void cloud_disk_make(struct cloud_disk *d, uint32_t shards)
{
	char folder[64];
	snprintf(folder, sizeof(folder), "%s/weir-test-XXXXXX", cloud_disk_place());
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(d->folder, sizeof(d->folder), "%s", folder);
	snprintf(d->log_path, sizeof(d->log_path), "%s/log", folder);
	snprintf(d->state_path, sizeof(d->state_path), "%s/state", folder);
	d->shards = shards;
	cloud_disk_open(d);
}

static inline void cloud_disk_close(struct cloud_disk *d)
{
	kv_close(d->log);
	kv_close(d->state);
	d->log = d->state = NULL;
}

static inline void cloud_disk_lose(const char *path)
{
	static const char *const files[] = {"data.mdb", "lock.mdb", "lock"};
	char file[128];
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(file, sizeof(file), "%s/%s", path, files[i]);
		unlink(file);
	}
	rmdir(path);
}

static inline void cloud_disk_remove(struct cloud_disk *d)
{
	cloud_disk_close(d);
	cloud_disk_lose(d->log_path);
	cloud_disk_lose(d->state_path);
	rmdir(d->folder);
}

#endif
