#include "client/cli/follow.h"

static int run(struct gdfo_cli *cli)
{
    return gdfo_watch(cli, cli->args.words[0], -1);
}

static const struct gdfo_cli_option options[] = {GDFO_CLI_JSON_OPTION, {0}};

const struct gdfo_cli_command gdfo_cmd_job_watch = {
    .words = "job watch",
    .short_form = "watch",
    .usage = "ID",
    .min_words = 1,
    .max_words = 1,
    .options = options,
    .help = "follow a job live; Ctrl-C leaves it running",
    .about =
        "On a terminal one view that renews itself; else a line an event. The daemon may restart "
        "meanwhile.\nWith --json one event a line, and the job as the last line.",
    .run = run,
};
