/* SIGTERM and SIGINT while a daemon opens or closes what it has, and its loop does not turn: that may take minutes (a large disk is read
 * as a whole), and what is on disk then is good at any moment, as it is through kill -9. So they end the process at once, with exit code 0.
 * SIGHUP, which would end it as well, does nothing meanwhile. */
#ifndef WEIR_COMMON_EARLY_STOP_H
#define WEIR_COMMON_EARLY_STOP_H

/* From now on, until loop_signal_new() takes them over; to be called again where a loop has given them back. */
void early_stop(void);

#endif
