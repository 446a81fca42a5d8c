#include "client/cli/act.h"

static int run(struct gdfo_cli *cli)
{
    return gdfo_act_all(cli, "resume");
}

static const struct gdfo_cli_option options[] = {GDFO_CLI_JSON_OPTION, {0}};

const struct gdfo_cli_command gdfo_cmd_job_resume = {
    .words = "job resume",
    .usage = "ID...",
    .min_words = 1,
    .max_words = GDFO_CLI_ARGS_MAX,
    .options = options,
    .help = "queue a paused job again",
    .run = run,
};
