#include "common/log.h"
#include "common/mem.h"
#include "server/config.h"
#include "server/config_show.h"
#include "server/lifecycle.h"
#include "server/signals.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHOWN_MAX_BYTES ((size_t)256 << 10)

static int serve(const struct gdfo_config *config)
{
    struct gdfo_lifecycle *l = NULL;
    struct gdfo_error err = {0};
    enum gdfo_exit code;
    gdfo_signals_arm();
    gdfo_log_set_level((enum gdfo_log_level)config->log_level);
    gdfo_log_set_json(config->log_format == 1);
    (void)umask(077);
    code = gdfo_lifecycle_start(&l, config, &err);
    if (code != GDFO_EXIT_STOPPED) {
        (void)fprintf(stderr, "gdfod: %s\n", err.text);
        return (int)code;
    }
    (void)printf("ready %s\n", gdfo_lifecycle_url(l));
    (void)fflush(stdout);
    gdfo_signals_wait();
    if (!gdfo_lifecycle_stop(l)) {
        gdfo_log(GDFO_LOG_WARN, "main", "ev=left what=calls_in_flight after_s=%" PRId64,
                 config->stop_seconds);
        _exit(GDFO_EXIT_STOPPED);
    }
    gdfo_log(GDFO_LOG_INFO, "main", "ev=stopped");
    return GDFO_EXIT_STOPPED;
}

static int show(const struct gdfo_config *config, enum gdfo_config_verb verb)
{
    struct gdfo_buf out;
    int failed;
    gdfo_buf_init(&out, SHOWN_MAX_BYTES);
    switch (verb) {
    case GDFO_CONFIG_PRINT: gdfo_config_show_values(config, &out); break;
    case GDFO_CONFIG_HELP: gdfo_config_show_usage(&out); break;
    case GDFO_CONFIG_HELP_CONFIG: gdfo_config_show_help(&out); break;
    case GDFO_CONFIG_VERSION: gdfo_buf_add(&out, "gdfod " GDFO_VERSION "\n"); break;
    case GDFO_CONFIG_CHECK: gdfo_buf_add(&out, "the configuration is good\n"); break;
    case GDFO_CONFIG_RUN: break;
    }
    failed = !gdfo_buf_ok(&out) || fputs(out.data ? out.data : "", stdout) < 0 || fflush(stdout);
    gdfo_buf_deinit(&out);
    return failed ? GDFO_EXIT_RUNNING : GDFO_EXIT_STOPPED;
}

static int asks_for_help(enum gdfo_config_verb verb)
{
    return verb == GDFO_CONFIG_HELP || verb == GDFO_CONFIG_HELP_CONFIG ||
           verb == GDFO_CONFIG_VERSION;
}

int main(int argc, char **argv)
{
    struct gdfo_config_command command;
    struct gdfo_config_faults faults;
    struct gdfo_config *config = gdfo_config_create();
    int code;
    if (!config) {
        (void)fputs("gdfod: out of memory\n", stderr);
        return GDFO_EXIT_RUNNING;
    }
    gdfo_config_faults_init(&faults);
    gdfo_config_load(config, argc, argv, &command, &faults);
    if (faults.n > 0 && !asks_for_help(command.verb)) {
        (void)fputs(faults.text.data ? faults.text.data : "gdfod: too many faults\n", stderr);
        code = GDFO_EXIT_USAGE;
    } else {
        code = command.verb == GDFO_CONFIG_RUN ? serve(config) : show(config, command.verb);
    }
    gdfo_buf_deinit(&faults.text);
    gdfo_mem_free(config);
    return code;
}
