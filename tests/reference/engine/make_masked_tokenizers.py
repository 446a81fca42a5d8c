#!/usr/bin/env python3
"""make_masked_tokenizers.py: two small tokenizers in Hugging Face's files, and the ids they give.

usage: make_masked_tokenizers.py FOLDER          needs the package tokenizers

Writes into FOLDER: bert/ (vocab.txt, tokenizer.json), bert-cased/ (tokenizer.json), roberta/ (vocab.json, merges.txt,
tokenizer.json) and cases.json: for each tokenizer a list of texts with the ids that the package tokenizers gives them,
special tokens left out, and once with them. The texts are our own.
"""
import json
import os
import sys

import tokenizers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = [
    '', ' ', 'a', 'A', 'Hello, world!', 'hello   world', ' leading and trailing ', 'It was great .', 'It was terrible.',
    'The café’s naïve façade', 'Ünïcödé ÀÉÎÕÜ ç ñ', 'e\u0301 is e with an acute', 'Straße STRASSE', 'İstanbul ISPARTA ı',
    'ΑΣΙΑΣ Σ ς σ', 'Привет, МИР! Ёлка й', '中文 mixed with 漢字text', '日本語のテキスト カタカナ ガギグ', '한국어 텍스트 값',
    'नमस्ते दुनिया', 'สวัสดีชาวโลก', 'שלום עולם', 'مرحبا بالعالم', 'xX😀👍🏽z', 'tabs\tand\nnew\r\nlines', 'zero\u200bwidth\u00adsoft',
    'nul-like \u0001 and \u007f', 'no\u00a0break\u2003em\u3000ideographic', '$5.00 + 3^2 = 14% ~ `x` |y| <z>', "don't can't it's I'll we've",
    '[CLS] is text here [MASK] <s> </s> <mask>', 'snake_case and kebab-case', 'http://example.org/a?b=c&d=e#f', 'ﬁne ﬂuﬀ ½ ² Ⅷ ℃', '\ufeffbom',
    'a' * 100, 'a' * 101, 'ab' * 60, '....', '“quoted” — dash … ¡hola! ¿qué?', '1234567890', '3.14159e-10', 'Ǆ ǅ ǆ', 'Å Å A\u030a',
    '﨎 豈 更', 'ᾳ ᾼ ῼ', 'Ω Ω K K', 'x\u0338 ≠ =\u0338', 'unaffable unbelievably', 'movie movies moviemaking', 'U.S.A. vs. the E.U.',
    '\u202eright to left\u202c', 'mañana MAÑANA', 'Đorđe Łódź øre', 'ŉ ǰ ẖ', '👩\u200d👩\u200d👧', 'a\u0300\u0301\u0302b', '০১২ ٣٤٥',
]
WORDS = ['hello', 'world', 'it', 'was', 'great', 'terrible', 'good', 'bad', 'the', 'movie', 'a', 'is', 'and', 'un', '##aff', '##able',
         '##ly', '##s', 'with', 'text', 'film', 'fun', 'dull', 'Hello', 'It', 'The']
SPECIAL = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
CORPUS = ['It was great .', ' It was terrible .', 'The movie was good, the film was bad.', ' a dull and terrible film',
          ' great fun and a good movie', ' hello world', 'the the the the was was was'] * 4


def write(folder, name, text):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), 'w', encoding='utf-8') as f:
        f.write(text)


def bert_normalizer(lower):
    return normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=lower)


def bert(folder, lower):
    norm, pre = bert_normalizer(lower), pre_tokenizers.BertPreTokenizer()
    chars = []
    for text in [x for i, x in enumerate(TEXTS) if i % 4] + [w.strip('#') for w in WORDS]:   # the rest meets [UNK]
        for word, _ in pre.pre_tokenize_str(norm.normalize_str(text)):
            chars += [word[0]] + ['##' + c for c in word[1:]]
    vocab = list(dict.fromkeys(SPECIAL + WORDS + sorted(set(chars))))
    t = Tokenizer(models.WordPiece({w: i for i, w in enumerate(vocab)}, unk_token='[UNK]', max_input_chars_per_word=100))
    t.normalizer, t.pre_tokenizer, t.decoder = norm, pre, decoders.WordPiece()
    t.post_processor = processors.TemplateProcessing(single='[CLS] $A [SEP]', pair='[CLS] $A [SEP] $B:1 [SEP]:1',
                                                     special_tokens=[('[CLS]', 2), ('[SEP]', 3)])
    t.add_special_tokens(SPECIAL)
    t.encode_special_tokens = True                                      # a text that spells [MASK] stays text
    write(folder, 'tokenizer.json', t.to_str() + '\n')
    if lower:
        write(folder, 'vocab.txt', '\n'.join(vocab) + '\n')
    return t


def roberta(folder):
    special = ['<s>', '<pad>', '</s>', '<unk>', '<mask>']
    t = Tokenizer(models.BPE(continuing_subword_prefix='', end_of_word_suffix=''))
    t.pre_tokenizer, t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=340, special_tokens=special, min_frequency=2, show_progress=False,
                                                      initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    t.post_processor = processors.RobertaProcessing(('</s>', 2), ('<s>', 0), add_prefix_space=False)
    t.encode_special_tokens = True
    write(folder, 'tokenizer.json', t.to_str() + '\n')
    t.model.save(folder)                                                # vocab.json, merges.txt
    return t


def cases(t):
    rows = [{'text': x, 'ids': t.encode(x, add_special_tokens=False).ids} for x in TEXTS]
    return {'whole': t.encode('It was great .').ids, 'cases': rows}


def main():
    if len(sys.argv) != 2:
        print(__doc__.split('\n')[2], file=sys.stderr)
        return 2
    folder = sys.argv[1]
    out = {'versions': {'tokenizers': tokenizers.__version__},
           'bert': cases(bert(os.path.join(folder, 'bert'), True)),
           'bert-cased': cases(bert(os.path.join(folder, 'bert-cased'), False)),
           'roberta': cases(roberta(os.path.join(folder, 'roberta')))}
    write(folder, 'cases.json', json.dumps(out, ensure_ascii=False, separators=(',', ':')) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
