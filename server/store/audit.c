/*
 * The audit trail: sha256 of a row = SHA-256(sha256 of the row before it, then the row's members in
 * the order at_ms uid pid request_id action object detail, each as "<length>:<text>,").
 */
#include "server/store/store_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void hash_text(struct gdfo_sha256 *h, const char *s)
{
    char head[24];
    size_t n = s ? strlen(s) : 0;
    int head_n = snprintf(head, sizeof head, "%zu:", n);
    gdfo_sha256_add(h, head, (size_t)head_n);
    gdfo_sha256_add(h, s ? s : "", n);
    gdfo_sha256_add(h, ",", 1);
}

static void hash_int(struct gdfo_sha256 *h, int64_t v)
{
    char text[24];
    GDFO_IGNORE(snprintf(text, sizeof text, "%" PRId64, v));
    hash_text(h, text);
}

static enum gdfo_status last_hash(struct gdfo_store *s, unsigned char out[GDFO_SHA256_BYTES],
                                  struct gdfo_error *err)
{
    struct gdfo_query q = gdfo_query(&s->writer, GDFO_SQL_AUDIT_LAST);
    int has_row;
    enum gdfo_status status = gdfo_query_row(&q, &has_row, err);
    memset(out, 0, GDFO_SHA256_BYTES); /* what the first row leans on */
    if (status == GDFO_STATUS_OK && has_row) {
        gdfo_query_get_sha256(&q, out);
        gdfo_query_end(&q);
    }
    return status;
}

enum gdfo_status gdfo_audit_add(struct gdfo_store *s, const struct gdfo_store_actor *who,
                                const struct gdfo_audit *row, struct gdfo_error *err)
{
    static const struct gdfo_store_actor daemon = {0};
    struct gdfo_query q;
    struct gdfo_sha256 h;
    unsigned char prev[GDFO_SHA256_BYTES];
    unsigned char mine[GDFO_SHA256_BYTES];
    int64_t at_ms = gdfo_store_now_ms(s);
    enum gdfo_status status = last_hash(s, prev, err);
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    who = who ? who : &daemon;
    gdfo_sha256_init(&h);
    gdfo_sha256_add(&h, prev, sizeof prev);
    hash_int(&h, at_ms);
    hash_int(&h, who->uid);
    hash_int(&h, who->pid);
    hash_text(&h, who->request_id);
    hash_text(&h, row->action);
    hash_text(&h, row->object);
    hash_text(&h, row->detail);
    gdfo_sha256_end(&h, mine);
    q = gdfo_query(&s->writer, GDFO_SQL_AUDIT_ADD);
    gdfo_query_int(&q, at_ms);
    gdfo_query_opt_int(&q, who->uid);
    gdfo_query_opt_int(&q, who->pid);
    gdfo_query_text(&q, who->request_id);
    gdfo_query_text(&q, row->action);
    gdfo_query_text(&q, row->object);
    gdfo_query_text(&q, row->detail);
    gdfo_query_blob(&q, prev, sizeof prev);
    gdfo_query_blob(&q, mine, sizeof mine);
    return gdfo_query_run(&q, err);
}
