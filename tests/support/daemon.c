#include "tests/support/daemon.h"

#include "common/clk.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/parse.h"
#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_MS  60000 /* under ThreadSanitizer on a busy machine */
#define END_MS    60000
#define ARGS_MAX  32
#define TINY      "models/stories260K/stories260K.derived.gguf"
#define PROGRAM   GDFO_TEST_BIN "/gdfod"
#define LOG_BYTES ((size_t)64 << 10)

static int64_t now_ms(void)
{
    return gdfo_clk_monotonic_ms(gdfo_clk_system());
}

/* ---- failing with the log ---- */

static void print_log(const char *path)
{
    struct gdfo_buf b;
    gdfo_buf_init(&b, (size_t)64 << 20);
    if (gdfo_file_read(path, &b, NULL) == GDFO_STATUS_OK && b.len) {
        size_t from = b.len > LOG_BYTES ? b.len - LOG_BYTES : 0;
        print_error("---- the daemon's log\n%s---- end of it\n", b.data + from);
    }
    gdfo_buf_deinit(&b);
}

static void give_up(const struct gdfo_test_daemon *d, const char *what)
{
    print_error("gdfod: %s\n", what);
    print_log(d->log);
    fail();
}

/* ---- starting ---- */

static void exec_daemon(char *const *argv, int out, int err)
{
    if (dup2(out, STDOUT_FILENO) >= 0 && dup2(err, STDERR_FILENO) >= 0) {
        (void)execv(PROGRAM, argv);
    }
    (void)dprintf(STDERR_FILENO, "%s cannot be started: errno %d\n", PROGRAM, errno);
    _exit(127);
}

/* argv of copies on the heap: exec wants them writable. */
static void add_arg(char **argv, const char *word)
{
    size_t n = 0;
    while (argv[n]) {
        n++;
    }
    assert_true(n + 1 < ARGS_MAX);
    argv[n] = gdfo_mem_dup_str(word);
    assert_non_null(argv[n]);
}

static void free_args(char **argv)
{
    for (size_t i = 0; argv[i]; i++) {
        gdfo_mem_free(argv[i]);
    }
}

static void spawn(struct gdfo_test_daemon *d, char **argv)
{
    int pipe_fds[2];
    int log = open(d->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(log >= 0);
    assert_int_equal(pipe(pipe_fds), 0);
    assert_int_equal(fcntl(pipe_fds[0], F_SETFD, FD_CLOEXEC), 0);
    d->pid = fork();
    assert_true(d->pid >= 0);
    if (d->pid == 0) {
        exec_daemon(argv, pipe_fds[1], log);
    }
    (void)close(pipe_fds[1]);
    (void)close(log);
    d->stdout_fd = pipe_fds[0];
}

/* Reads the first line, with the patience of READY_MS. 0 when it ended or said nothing. */
static int read_line(int fd, char *line, size_t size)
{
    int64_t end = now_ms() + READY_MS;
    size_t n = 0;
    while (n + 1 < size && now_ms() < end) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 200) <= 0) {
            continue;
        }
        if (read(fd, line + n, 1) != 1) {
            return 0;
        }
        if (line[n] == '\n') {
            line[n] = '\0';
            return 1;
        }
        n++;
    }
    return 0;
}

static void take_ready(struct gdfo_test_daemon *d)
{
    static const char prefix[] = "ready http://127.0.0.1:";
    char line[128] = "";
    int64_t port = 0;
    if (!read_line(d->stdout_fd, line, sizeof line)) {
        give_up(d, "no ready line");
    }
    if (strncmp(line, prefix, sizeof prefix - 1) != 0 ||
        !gdfo_parse_i64(line + sizeof prefix - 1, 1, 65535, &port)) {
        give_up(d, "the first line is not \"ready http://127.0.0.1:PORT\"");
    }
    d->port = (int)port;
    (void)snprintf(d->url, sizeof d->url, "http://127.0.0.1:%d", d->port);
}

static void start(struct gdfo_test_daemon *d)
{
    char *argv[ARGS_MAX] = {0};
    char word[640];
    add_arg(argv, "gdfod");
    (void)snprintf(word, sizeof word, "--data.dir=%s", d->data);
    add_arg(argv, word);
    (void)snprintf(word, sizeof word, "--models.dir=%s", d->models);
    add_arg(argv, word);
    (void)snprintf(word, sizeof word, "--http.port=%d", d->port);
    add_arg(argv, word);
    for (size_t i = 0; d->args && d->args[i]; i++) {
        add_arg(argv, d->args[i]);
    }
    spawn(d, argv);
    free_args(argv);
    take_ready(d);
}

/* ---- the folder ---- */

void gdfo_test_daemon_add_model(struct gdfo_test_daemon *d, const char *shared, const char *name)
{
    char path[1024];
    struct gdfo_buf b;
    struct gdfo_error err = {0};
    gdfo_test_shared_read(shared, &b);
    (void)snprintf(path, sizeof path, "%s/%s", d->models, name);
    gdfo_test_ok(gdfo_file_write(path, b.data, b.len, &err), &err);
    gdfo_buf_deinit(&b);
}

struct gdfo_test_daemon *gdfo_test_daemon_start(const char *const *args)
{
    struct gdfo_test_daemon *d = gdfo_mem_array(1, sizeof *d);
    assert_non_null(d);
    d->args = args;
    d->folder = gdfo_test_mkdir();
    (void)snprintf(d->data, sizeof d->data, "%s/data", d->folder);
    (void)snprintf(d->models, sizeof d->models, "%s/models", d->folder);
    (void)snprintf(d->log, sizeof d->log, "%s/gdfod.log", d->folder);
    assert_int_equal(mkdir(d->models, 0700), 0);
    gdfo_test_daemon_add_model(d, TINY, "local.gguf");
    start(d);
    return d;
}

void gdfo_test_daemon_restart(struct gdfo_test_daemon *d)
{
    assert_int_equal(d->pid, 0);
    start(d);
}

/* ---- ending ---- */

/* The end of a process is the end of its standard output, which can be polled for. */
static int wait_for(struct gdfo_test_daemon *d)
{
    int64_t end = now_ms() + END_MS;
    struct pollfd p = {.fd = d->stdout_fd, .events = POLLIN};
    char rest[256];
    int status = 0, is_late = 0;
    for (;;) {
        is_late = now_ms() > end;
        if (is_late || (poll(&p, 1, 200) > 0 && read(d->stdout_fd, rest, sizeof rest) <= 0)) {
            break;
        }
    }
    if (is_late) {
        (void)kill(d->pid, SIGKILL);
    }
    (void)waitpid(d->pid, &status, 0);
    d->pid = 0;
    (void)close(d->stdout_fd);
    if (is_late) {
        give_up(d, "it did not end within a minute and was killed");
    }
    return status;
}

int gdfo_test_daemon_stop(struct gdfo_test_daemon *d, int signal_number)
{
    assert_true(d->pid > 0);
    assert_int_equal(kill(d->pid, signal_number), 0);
    return wait_for(d);
}

int gdfo_test_daemon_refusal(const char *const *args, char *words, size_t size)
{
    struct gdfo_test_daemon d = {.folder = gdfo_test_mkdir()};
    char *argv[ARGS_MAX] = {0};
    struct gdfo_buf b;
    int status;
    (void)snprintf(d.log, sizeof d.log, "%s/gdfod.log", d.folder);
    add_arg(argv, "gdfod");
    for (size_t i = 0; args[i]; i++) {
        add_arg(argv, args[i]);
    }
    spawn(&d, argv);
    free_args(argv);
    status = wait_for(&d);
    gdfo_buf_init(&b, (size_t)1 << 20);
    GDFO_IGNORE(gdfo_file_read(d.log, &b, NULL));
    (void)snprintf(words, size, "%s", b.data ? b.data : "");
    gdfo_buf_deinit(&b);
    gdfo_test_rmdir(d.folder);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void gdfo_test_daemon_end(struct gdfo_test_daemon *d)
{
    int status = 0;
    if (!d) {
        return;
    }
    if (d->pid > 0) {
        status = gdfo_test_daemon_stop(d, SIGTERM);
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        print_error("gdfod ended with wait status %d\n", status);
        print_log(d->log);
    }
    gdfo_test_rmdir(d->folder);
    gdfo_mem_free(d);
    assert_int_equal(status, 0);
}
