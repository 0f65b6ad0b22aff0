/* A disk in memory, and struct kv_ops on it: what common/kv says of LMDB, with crashes.
 *
 * A sim_disk is what survives a process: the committed image. sim_kv_open() gives a process its handle on it. A write
 * transaction works on its own version (a persistent treap: nodes are shared until written), so readers keep their
 * snapshot, a crash forgets the version, and copying a disk - a cloned gateway, a backup - costs nothing.
 *
 * Crashes: sim_kv_crash_after(kv, n) lets n more write operations (begin, put, del, clear, commit) pass; the next one
 * fails with WEIR_EIO and so does everything after it. If that one is a commit, chance says whether it reached the
 * disk. The process object is then to be thrown away, as a killed process is. Misuse of the kv contract (two write
 * transactions, a cursor left open or stepped after a write) ends the program. */
#ifndef WEIR_SIM_KV_H
#define WEIR_SIM_KV_H

#include "common/kv.h"
#include "tests/sim/sim_rand.h"

struct sim_disk;

/* Called for each record put by a transaction once it is durable, in the order put (records deleted or replaced again
 * in the same transaction included). value: with its record head. */
typedef void (*sim_disk_hook)(void *arg, unsigned db, struct bytes key, struct bytes value);

struct sim_disk *sim_disk_new(unsigned dbs, uint64_t size_bytes);
struct sim_disk *sim_disk_copy(const struct sim_disk *d); /* without the hook */
void sim_disk_free(struct sim_disk *d);
void sim_disk_hook_set(struct sim_disk *d, sim_disk_hook hook, void *arg);
/* Puts that would go beyond fail with WEIR_EFULL. Each record costs its bytes and some overhead. */
void sim_disk_limit(struct sim_disk *d, uint64_t size_bytes);
/* Chance that a commit finds no room, as LMDB's may (WEIR_EFULL; nothing is changed). */
void sim_disk_full_commits(struct sim_disk *d, double chance);
uint64_t sim_disk_used(const struct sim_disk *d);
uint64_t sim_disk_commits(const struct sim_disk *d);
/* A lying disk, for mutants: from now on commits are shown to the process and lost at its end; false: it writes out what
 * it holds and lies no more. */
void sim_disk_lie(struct sim_disk *d, bool lie);

/* One handle at a time; seed: for the outcome of a commit that a crash hits. kv_close() ends it. */
struct kv *sim_kv_open(struct sim_disk *d, uint64_t seed);
void sim_kv_crash_after(struct kv *kv, uint64_t operations);
bool sim_kv_dead(const struct kv *kv);
/* Commits that a crash hit and that reached the disk all the same, by this handle: 0 or 1. */
bool sim_kv_crash_committed(const struct kv *kv);

#endif
