#ifndef GDFO_TESTS_SUPPORT_DAEMON_H
#define GDFO_TESTS_SUPPORT_DAEMON_H

#include <stdint.h>
#include <sys/types.h>

/*
 * A real gdfod for a test: its own folder below $TMPDIR, a free loopback port, the tiny model
 * stories260K as teacher "local". Every function fails the running test, with the daemon's log,
 * rather than return an error; so call them on the test's own thread, and end in a teardown.
 *
 *   static int setup(void **state) { *state = gdfo_test_daemon_start(NULL); return 0; }
 *   static int teardown(void **state) { gdfo_test_daemon_end(*state); return 0; }
 */
struct gdfo_test_daemon {
    pid_t pid;      /* 0: not running */
    int stdout_fd;  /* read end of its standard output */
    int port;       /* of the first start; kept over restarts */
    char url[64];   /* "http://127.0.0.1:PORT" */
    char *folder;   /* everything below; removed at the end */
    char data[512]; /* --data.dir */
    char models[512];
    char log[512];           /* its standard error, appended to over restarts */
    const char *const *args; /* more arguments, ended by NULL; borrowed; may be NULL */
};

/* Makes the folders, copies the model, starts and waits for the ready line. Ended by
 * gdfo_test_daemon_end(). */
struct gdfo_test_daemon *gdfo_test_daemon_start(const char *const *args);

/* Starts it again on the same folder and port; it must not be running. */
void gdfo_test_daemon_restart(struct gdfo_test_daemon *d);

/* Sends a signal, waits for the end, and returns the wait status. */
int gdfo_test_daemon_stop(struct gdfo_test_daemon *d, int signal_number);

/* Runs gdfod to its end with these arguments, without waiting for a ready line: for refusals.
 * Returns its exit code; what it wrote to stderr goes to words. */
int gdfo_test_daemon_refusal(const char *const *args, char *words, size_t size);

/* Stops it with SIGTERM (exit 0 is expected), removes the folder, frees d. NULL is fine. */
void gdfo_test_daemon_end(struct gdfo_test_daemon *d);

/* Puts a copy of a shared file where the daemon finds models, under this name. */
void gdfo_test_daemon_add_model(struct gdfo_test_daemon *d, const char *shared, const char *name);

#endif
