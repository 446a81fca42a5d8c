/* The CHECK(held+used<=cap) of the schema is what makes overspending impossible; here it is asked
 * first, so that a refusal can be put into words. */
#include "server/store/call_priv.h"

#include <inttypes.h>

static const char *const units[GDFO_CALL_UNITS] = {"evals", "queries", "tokens_in", "tokens_out",
                                                   "usd_micros"};

static enum gdfo_status check_unit(struct gdfo_db *db, int64_t jid, const char *unit, int64_t need,
                                   struct gdfo_error *err)
{
    char scope[16];
    int has_row;
    int64_t cap;
    int64_t used;
    int64_t held;
    enum gdfo_status status;
    struct gdfo_query q = gdfo_query(db, GDFO_SQL_BUDGET_BLOCKING);
    gdfo_query_int(&q, jid);
    gdfo_query_text(&q, unit);
    gdfo_query_int(&q, need);
    status = gdfo_query_row(&q, &has_row, err);
    if (status != GDFO_STATUS_OK || !has_row) {
        return status;
    }
    gdfo_query_get_text(&q, scope, sizeof scope);
    cap = gdfo_query_get_int(&q);
    used = gdfo_query_get_int(&q);
    held = gdfo_query_get_int(&q);
    gdfo_query_end(&q);
    return gdfo_error_set(err, GDFO_STATUS_BUDGET,
                          "%s budget of %" PRId64 " %s: %" PRId64 " used and %" PRId64
                          " held leave %" PRId64 ", but %" PRId64 " are needed",
                          scope, cap, unit, used, held, cap - used - held, need);
}

enum gdfo_status gdfo_budget_check(struct gdfo_db *db, int64_t jid, const struct gdfo_amounts *need,
                                   struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    for (int i = 0; i < GDFO_CALL_UNITS && status == GDFO_STATUS_OK; i++) {
        if (need->n[i] < 0) {
            status = gdfo_error_set(err, GDFO_STATUS_INVALID, "a call needs %" PRId64 " %s",
                                    need->n[i], units[i]);
        } else if (need->n[i] > 0) {
            status = check_unit(db, jid, units[i], need->n[i], err);
        }
    }
    return status;
}

enum gdfo_status gdfo_budget_hold(struct gdfo_store *s, int64_t jid,
                                  const struct gdfo_amounts *need, struct gdfo_error *err)
{
    enum gdfo_status status = gdfo_budget_check(&s->writer, jid, need, err);
    for (int i = 0; i < GDFO_CALL_UNITS && status == GDFO_STATUS_OK; i++) {
        struct gdfo_query q;
        if (need->n[i] > 0) {
            q = gdfo_query(&s->writer, GDFO_SQL_BUDGET_HOLD);
            gdfo_query_int(&q, jid);
            gdfo_query_text(&q, units[i]);
            gdfo_query_int(&q, need->n[i]);
            status = gdfo_query_run(&q, err);
        }
    }
    return status;
}

enum gdfo_status gdfo_budget_settle(struct gdfo_store *s, int64_t jid,
                                    const struct gdfo_amounts *held,
                                    const struct gdfo_amounts *used, struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    for (int i = 0; i < GDFO_CALL_UNITS && status == GDFO_STATUS_OK; i++) {
        struct gdfo_query q;
        if (held->n[i] != 0 || used->n[i] != 0) {
            q = gdfo_query(&s->writer, GDFO_SQL_BUDGET_SETTLE);
            gdfo_query_int(&q, jid);
            gdfo_query_text(&q, units[i]);
            gdfo_query_int(&q, held->n[i]);
            gdfo_query_int(&q, used->n[i]);
            status = gdfo_query_run(&q, err);
        }
    }
    return status;
}

enum gdfo_status gdfo_budget_undo(struct gdfo_store *s, int64_t jid,
                                  const struct gdfo_amounts *used, struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    for (int i = 0; i < GDFO_CALL_UNITS && status == GDFO_STATUS_OK; i++) {
        struct gdfo_query q;
        if (used->n[i] > 0) {
            q = gdfo_query(&s->writer, GDFO_SQL_BUDGET_UNDO);
            gdfo_query_int(&q, jid);
            gdfo_query_text(&q, units[i]);
            gdfo_query_int(&q, used->n[i]);
            status = gdfo_query_run(&q, err);
        }
    }
    return status;
}

enum gdfo_status gdfo_budget_book_wall(struct gdfo_store *s, int64_t jid, int64_t ms,
                                       struct gdfo_error *err)
{
    struct gdfo_query q;
    if (ms <= 0) {
        return GDFO_STATUS_OK;
    }
    q = gdfo_query(&s->writer, GDFO_SQL_BUDGET_SETTLE);
    gdfo_query_int(&q, jid);
    gdfo_query_text(&q, "wall_ms");
    gdfo_query_int(&q, 0);
    gdfo_query_int(&q, ms);
    return gdfo_query_run(&q, err);
}
