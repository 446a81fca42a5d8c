#include "server/tune/head_learn.h"

const struct gdfo_head_learner *gdfo_head_learner_of(enum gdfo_head_kind kind)
{
    switch (kind) {
    case GDFO_HEAD_BLANK: return &gdfo_head_blank;
    case GDFO_HEAD_VERBALIZER: return &gdfo_head_verbalizer;
    case GDFO_HEAD_DECT: return &gdfo_head_dect;
    case GDFO_HEAD_MPD: return &gdfo_head_mpd;
    case GDFO_HEAD_PROMPTBOOST: return &gdfo_head_promptboost;
    case GDFO_HEAD_AUTO:
    case GDFO_HEAD_NONE:
    case GDFO_HEAD_BIAS:
    case GDFO_HEAD_ANCHORS:
    case GDFO_HEAD_TEMPERATURE:
    case GDFO_HEAD_HIDDEN: break;
    }
    return NULL;
}

/* Content-free calibration (Zhao et al., ICML 2021): each label's probability over the one that an
 * empty text gets. Nothing is fitted. */
static enum gdfo_status blank_fit(struct gdfo_head_numbers *h, const struct gdfo_head_lesson *l,
                                  struct gdfo_error *err)
{
    (void)err;
    h->scale = 1;
    for (size_t c = 0; c < h->n_labels; c++) {
        h->bias[c] = -(double)l->d->blank[c];
    }
    return GDFO_STATUS_OK;
}

static const double no_knob[] = {1};

const struct gdfo_head_learner gdfo_head_blank = {.knobs = no_knob, .n_knobs = 1, .fit = blank_fit};
