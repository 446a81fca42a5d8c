#include "client/cli/act.h"

static int run(struct gdfo_cli *cli)
{
    if (!gdfo_cli_args_get(&cli->args, "yes") &&
        !gdfo_cli_confirm(cli, "cancel for good what is named?")) {
        return gdfo_cli_fail_as(cli, GDFO_EXIT_DECLINED, "nothing was cancelled");
    }
    return gdfo_act_all(cli, "cancel");
}

static const struct gdfo_cli_option options[] = {
    GDFO_CLI_JSON_OPTION, {"yes", 'y', GDFO_CLI_FLAG, NULL, "do not ask"}, {0}};

const struct gdfo_cli_command gdfo_cmd_job_cancel = {
    .words = "job cancel",
    .usage = "ID... [--yes]",
    .min_words = 1,
    .max_words = GDFO_CLI_ARGS_MAX,
    .options = options,
    .help = "end a job; its best prompt so far is kept",
    .run = run,
};
