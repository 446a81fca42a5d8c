#include "server/tune/method/method.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void gdfo_report_metric_add(struct gdfo_report *r, const char *name, double value)
{
    size_t at = 0;
    while (at < r->n_metrics && strcmp(r->metrics[at].name, name) != 0) {
        at++;
    }
    if (at < GDFO_REPORT_METRICS_MAX) {
        struct gdfo_report_metric *m = &r->metrics[at];
        r->n_metrics = at == r->n_metrics ? at + 1 : r->n_metrics;
        (void)snprintf(m->name, sizeof m->name, "%s", name);
        m->value = value;
    }
}

void gdfo_report_message_add(struct gdfo_report *r, int is_warning, const char *code,
                             const char *fmt, ...)
{
    if (r->n_messages < GDFO_REPORT_MESSAGES_MAX) {
        struct gdfo_report_message *m = &r->messages[r->n_messages++];
        va_list args;
        m->is_warning = is_warning;
        (void)snprintf(m->code, sizeof m->code, "%s", code);
        va_start(args, fmt);
        (void)vsnprintf(m->text, sizeof m->text, fmt, args);
        va_end(args);
    }
}
