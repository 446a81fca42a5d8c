#ifndef GDFO_SERVER_SIGNALS_H
#define GDFO_SERVER_SIGNALS_H

/*
 * The signals that stop the daemon. arm is called first of all, before any thread of ours starts;
 * wait returns at the first SIGTERM or SIGINT (SIGHUP is only logged: nothing can be read again
 * while running yet). A second one then ends the process at once: what was answered is durable.
 * Main thread only.
 */
void gdfo_signals_arm(void);
void gdfo_signals_wait(void);

#endif
