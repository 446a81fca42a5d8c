#include "client/cli/cli.h"

static int run(struct gdfo_cli *cli)
{
    if (cli->is_json) {
        (void)fprintf(cli->out, "{\"name\":\"gdfo\",\"version\":\"%s\"}\n", GDFO_VERSION);
    } else {
        (void)fprintf(cli->out, "gdfo %s\n", GDFO_VERSION);
    }
    return GDFO_EXIT_DONE;
}

static const struct gdfo_cli_option options[] = {GDFO_CLI_JSON_OPTION, {0}};

const struct gdfo_cli_command gdfo_cmd_version = {
    .words = "version",
    .usage = "",
    .min_words = 0,
    .max_words = 0,
    .is_local = 1,
    .options = options,
    .help = "the version of this client",
    .run = run,
};
