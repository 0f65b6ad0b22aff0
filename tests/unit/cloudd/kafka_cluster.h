/* For tests: librdkafka's own mock cluster of one broker, in this process; and a name server that takes its time. */
#ifndef WEIR_TESTS_KAFKA_CLUSTER_H
#define WEIR_TESTS_KAFKA_CLUSTER_H

#include <stdbool.h>
#include <stddef.h>

/* Kafka's numbers of errors. */
#define KAFKA_TOO_LARGE 10
#define KAFKA_NOT_AUTHORIZED 29

void kafka_cluster_start(void);
void kafka_cluster_stop(void);
const char *kafka_cluster_address(void);
void kafka_cluster_inject(size_t requests, int error); /* the next ones to produce are answered so */
void kafka_cluster_delay(int ms);                      /* of each answer */

#define SLOW_NAME "slow.example" /* who asks for it waits for slow_name_answer(), and in vain */
bool slow_name_asked(void);
void slow_name_answer(void); /* returns when who asked has it */
void slow_name_reset(void);  /* nobody has asked yet */

#endif
