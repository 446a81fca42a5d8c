#include "server/signals.h"

#include "common/log.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>

static const int taken[] = {SIGTERM, SIGINT, SIGHUP};
#define N_TAKEN (sizeof taken / sizeof taken[0])

static pthread_t main_thread;
static sigset_t set;

/* Threads that a library made before main have not blocked the signals: what reaches one of them is
 * passed on to where sigwait takes it. */
static void pass_on(int number)
{
    (void)pthread_kill(main_thread, number);
}

static void handle(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    (void)sigaction(number, &action, NULL);
}

void gdfo_signals_arm(void)
{
    main_thread = pthread_self();
    (void)sigemptyset(&set);
    for (size_t i = 0; i < N_TAKEN; i++) {
        (void)sigaddset(&set, taken[i]);
    }
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    for (size_t i = 0; i < N_TAKEN; i++) {
        handle(taken[i], pass_on);
    }
    handle(SIGPIPE, SIG_IGN);
    handle(SIGXFSZ, SIG_IGN); /* a file past its limit is a full disk, not an end */
}

void gdfo_signals_wait(void)
{
    int number = SIGHUP;
    while (number == SIGHUP) {
        (void)sigwait(&set, &number);
        gdfo_log(GDFO_LOG_INFO, "main", "ev=signal number=%d", number);
    }
    handle(SIGTERM, SIG_DFL);
    handle(SIGINT, SIG_DFL);
    handle(SIGHUP, SIG_IGN);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}
