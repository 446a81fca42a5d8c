#include "client/cli/cli.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Set by Ctrl-C; every wait and every transfer looks at it. */
static atomic_int cancel;

static void on_interrupt(int number)
{
    (void)number;
    atomic_store_explicit(&cancel, 1, memory_order_release);
}

static void take_signals(void)
{
    struct sigaction action = {0};
    action.sa_handler = on_interrupt;
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    action.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &action, NULL);
}

/* $XDG_STATE_HOME/gdfo, else ~/.local/state/gdfo; NULL when there is no home. */
static const char *state_dir(char *out, size_t size)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n = -1;
    if (state && state[0] == '/') {
        n = snprintf(out, size, "%s/gdfo", state);
    } else if (home && home[0] == '/') {
        n = snprintf(out, size, "%s/.local/state/gdfo", home);
    }
    return n > 0 && (size_t)n < size ? out : NULL;
}

int main(int argc, char **argv)
{
    char state[4096];
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
    struct gdfo_cli cli = {.url = getenv("GDFO_URL"),
                           .token = getenv("GDFO_TOKEN"),
                           .is_tty_in = isatty(STDIN_FILENO),
                           .is_tty_out = isatty(STDOUT_FILENO),
                           .is_tty_err = isatty(STDERR_FILENO),
                           .cancel = &cancel,
                           .out = stdout,
                           .err = stderr};
    int code;
    cli.state_dir = state_dir(state, sizeof state);
    cli.is_dumb = !term || !*term || strcmp(term, "dumb") == 0;
    cli.has_color = cli.is_tty_out && !cli.is_dumb && !(no_color && *no_color);
    take_signals();
    code = gdfo_cli_dispatch(&cli, argc > 0 ? argc - 1 : 0, argv + (argc > 0));
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == GDFO_EXIT_DONE) {
        (void)fprintf(stderr, "gdfo: stdout could not be written\n");
        code = GDFO_EXIT_FAILED;
    }
    return code;
}
