/* raft/rule: the rules that the simulator breaks, one at a time, to prove that it would notice.
 *
 * Each is used at exactly one place, as RULE(RAFT_RULE_...): true in every build but the mutants' (-DRAFT_MUTANTS), where
 * it is false for the one rule that raft_broken_rule names. Internal: for raft/ and its tests. */
#ifndef RAFT_RULE_H
#define RAFT_RULE_H

#include <stdbool.h>

/* X(name, what holds). Those marked "live" guard progress, not safety: broken, groups stall or are disturbed. */
#define RAFT_RULES(X)                                                                                                \
	/* election (D 3.4, 3.6.1, 9.6) */                                                                               \
	X(ONE_VOTE, "one vote in a term")                                                                                \
	X(VOTE_PERSISTED, "a vote is written")                                                                           \
	X(VOTE_WAITS, "a granted vote leaves when it is durable")                                                        \
	X(CANDIDACY_WAITS, "a candidate's own vote counts, and its requests leave, when it is durable")                  \
	X(UP_TO_DATE, "a vote only for a log at least as up to date")                                                    \
	X(MAJORITY, "a majority elects and commits")                                                                     \
	X(STEP_DOWN, "a leader that sees a higher term steps down")                                                      \
	X(STALE_RESULT, "results of earlier terms do not count")                                                         \
	X(NOOP, "a leader begins with an entry of its term (live)")                                                      \
	X(PRE_VOTE, "a campaign begins with a pre-vote (live)")                                                          \
	X(REFUSAL_TERM, "a refused pre-vote tells the voter's higher term (live)")                                       \
	X(STICKY, "who hears its leader ignores candidates (live)")                                                      \
	X(CHECK_QUORUM, "a leader that hears no majority steps down (live)")                                             \
	X(VOID_CAMPAIGN, "who lost its state to an unfinished snapshot does not lead (live)")                            \
	/* replication (D 3.5, 3.6.2, 10.2.1) */                                                                         \
	X(PREVIOUS_CHECK, "entries are appended behind a matching one only")                                             \
	X(TRUNCATE_ON_CONFLICT, "entries that match are kept")                                                           \
	X(VERIFIED_RESULT, "an append result names what that message verified")                                          \
	X(APPEND_RESULT_WAITS, "an append result leaves when its entries are durable")                                   \
	X(LATE_COMPLETION, "a completed write does not count for what replaced its entries meanwhile")                   \
	X(OWN_TERM_COMMIT, "only entries of the own term are committed by counting")                                     \
	X(LEADER_DURABLE, "the leader counts itself for its durable entries only")                                       \
	X(COMMIT_VERIFIED, "a follower commits what a message verified at the most")                                     \
	X(HEARTBEAT_COMMIT, "a heartbeat commits what its receiver matches at the most")                                 \
	X(APPLY_DURABLE, "what is applied is durable here")                                                              \
	/* reads (D 6.4) */                                                                                              \
	X(READ_OWN_TERM, "a read waits for a committed entry of the leader's term")                                      \
	X(READ_ROUND, "a read waits for a round of heartbeats that began after it")                                      \
	/* membership (D 4.1, 4.2) */                                                                                    \
	X(CONFIG_OWN_TERM, "a change waits for a committed entry of the leader's term")                                  \
	X(ONE_CHANGE, "a change waits for the one before")                                                               \
	X(CONFIG_AT_ONCE, "a configuration is in force when it is in the log (live)")                                    \
	X(TRUNCATE_CONFIG, "a truncated configuration is no longer in force")                                            \
	X(NEEDED, "who is removed campaigns until that is committed (live)")                                         \
	X(LEARNER, "learners count in no majority")                                                                      \
	X(REMOVED_LEADER, "a leader that is removed steps down (live)")                                                  \
	/* snapshots (D 5) */                                                                                            \
	X(SNAPSHOT_OLD, "an offered snapshot that the log already reaches is not wanted (live)")                         \
	X(SNAPSHOT_SUFFIX, "an installed snapshot keeps the entries that go on behind it")

#define RAFT_RULE_ENUM(name, text) RAFT_RULE_##name,
enum raft_rule { RAFT_RULE_NONE, RAFT_RULES(RAFT_RULE_ENUM) RAFT_RULE_COUNT };
#undef RAFT_RULE_ENUM

#ifdef RAFT_MUTANTS
extern enum raft_rule raft_broken_rule; /* the tests define it */
#define RULE(r) (raft_broken_rule != (r))
#else
#define RULE(r) true
#endif

#endif
