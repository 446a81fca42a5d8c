"""Rows before every layer: bbtv2 and bbt-rgb, tuned, used and exported."""
import json
import os
import struct
import unittest

import real_daemon
import tiny_masked
from real_daemon import Case, RealDaemon, rows_of


class Deep(Case):
    def new_daemon(self, name):
        daemon = RealDaemon(os.path.join(self.folder, name), self.args)
        tiny_masked.write(os.path.join(daemon.models, 'roberta-tiny'))
        self.addCleanup(self.end, daemon)
        return daemon

    def tuned(self, spec, evals):
        self.write_task()
        job = self.submit(spec)
        self.ok('job', 'wait', job)
        shown = json.loads(self.ok('job', 'show', job, '--json').out)
        self.assertEqual(shown['status'], 'succeeded')
        self.assertLessEqual(shown['spend']['evals'], evals)
        path = self.write('test.jsonl', rows_of(5, 300))
        said = {v: [one['lp']['good'] for one in json.loads(self.ok('predict', job, path, '--variant', v, '--json').out)['data']]
                for v in ('tuned', 'manual')}
        self.assertEqual(len(said['tuned']), 10)
        self.assertNotEqual(said['tuned'], said['manual'])
        self.ok('result', job, '-o', job)
        return job, json.loads(self.read(job, 'result.json'))

    def check_safetensors(self, job, result):
        """The rows of the input and those before deeper layers, number for number."""
        data = self.read(job, 'prompt.safetensors')
        n = struct.unpack('<Q', data[:8])[0]
        head = json.loads(data[8:8 + n])
        layers = [layer['layer'] for layer in result['layers']]
        self.assertEqual(head['__metadata__']['gdfo.layers'], ','.join(map(str, layers)))
        tensor = head['layer_prompts']
        self.assertEqual(tensor['shape'], [len(layers), result['n_prompt_tokens'], result['d_model']])
        begin, end = tensor['data_offsets']
        floats = struct.unpack('<%df' % ((end - begin) // 4), data[8 + n + begin:8 + n + end])
        self.assertEqual(list(floats), [x for layer in result['layers'] for row in layer['rows'] for x in row])
        self.assertFalse(os.path.exists(os.path.join(self.folder, job, 'peft')))

    def test_bbtv2(self):
        job, result = self.tuned(self.spec('bbtv2', body={'budget': {'evals': 60}}), 60)
        self.assertEqual([layer['layer'] for layer in result['layers']], [1, 3])    # of five, with the input
        self.check_safetensors(job, result)
        lines = [line.split(',') for line in self.ok('job', 'metrics', job, '--csv').out.splitlines()]
        last = {line[lines[0].index('name')]: float(line[lines[0].index('value')]) for line in lines[1:]
                if 'calls_parallel' in line}
        self.assertLess(last['calls_parallel'], 20)                                 # a generation is one call

    def test_bbt_rgb(self):
        more = {'hyperparameters': {'n_prompt_tokens': 20, 'n_demos': 3}, 'budget': {'evals': 60},
                'task': {'position': 'prefix'}}
        job, result = self.tuned(self.spec('bbt-rgb', body=more), 60)
        self.assertEqual(result['n_prompt_tokens'], 20)
        events = self.ok('job', 'events', job).out
        for word in ('the instruction alone', 'words averaged', 'rows before'):
            self.assertIn(word, events)
        for words in result['about']['words']:
            self.assertEqual(len(words), 2)

    def test_added_to_a_masked_language_model(self):
        task = {'template': ' . {text} . It was {mask} .', 'cue': None, 'prompt': 'added', 'position': 'prefix',
                'verbalizer': {'good': 'great', 'bad': 'terrible'}}
        spec = self.spec('bbtv2', model='roberta-tiny', body={
            'task': task, 'budget': {'evals': 60}, 'hyperparameters': {'n_prompt_tokens': 20, 'layers': 2}})
        job, result = self.tuned(spec, 60)
        self.assertEqual([layer['layer'] for layer in result['layers']], [1])
        self.check_safetensors(job, result)


if __name__ == '__main__':
    real_daemon.main()
