"""Files, lists, predictions and results: what goes in and what comes out."""
import io
import json
import os
import tarfile
import unittest

import cli_case
import fake_daemon
from cli_case import Case

JOB = 'ftjob-01JTEST'


class Files(Case):
    def put(self, name='a.jsonl', data=b'{"text":"x","label":"y"}\n'):
        self.write(name, data)
        return self.ok('file', 'put', name).out.strip()

    def test_put_ls_show_get_rm(self):
        data = bytes(range(256)) * 500
        file_id = self.put('a.bin', data)
        self.assertIn('a.bin', self.ok('file', 'ls').out)
        self.assertIn('125.0 KiB', self.ok('file', 'show', file_id).out)
        self.ok('file', 'get', file_id, '-o', 'back.bin')
        self.assertEqual(self.read('back.bin'), data)
        self.assertFalse(os.path.exists(os.path.join(self.folder, 'back.bin.part')))
        self.assertEqual(self.ok('file', 'rm', file_id, '--json').json()['deleted'], True)
        self.assertEqual(self.gdfo('file', 'show', file_id).code, 5)

    def test_put_several_is_a_stream(self):
        self.write('a', 'one'), self.write('b', 'two')
        docs = self.ok('file', 'put', 'a', 'b', '--json').lines()
        self.assertEqual([d['filename'] for d in docs], ['a', 'b'])

    def test_put_of_what_is_not_there(self):
        done = self.gdfo('file', 'put', 'nowhere.jsonl')
        self.assertEqual(done.code, 2)
        self.assertIn('nowhere.jsonl', done.err)

    def test_get_to_stdout_is_the_bytes(self):
        self.assertEqual(self.ok('file', 'get', self.put()).out, '{"text":"x","label":"y"}\n')

    def test_a_damaged_download_leaves_no_file(self):
        file_id = self.put()
        self.daemon.lie_about_etag = True
        self.assertEqual(self.gdfo('file', 'get', file_id, '-o', 'x').code, 12)
        self.assertEqual([n for n in os.listdir(self.folder) if n.startswith('x')], [])

    def test_a_refused_download_leaves_the_old_file(self):
        self.write('x', 'old')
        self.assertEqual(self.gdfo('file', 'get', 'file-none', '-o', 'x').code, 5)
        self.assertEqual(self.read('x'), b'old')

    def test_lists_are_tab_separated_off_a_terminal_and_aligned_on_it(self):
        self.put('one.jsonl')
        self.assertEqual(self.ok('file', 'ls').out.split('\t')[:2], ['file-1', 'one.jsonl'])
        running = self.start_on_terminal('file', 'ls')
        self.assertEqual(running.finish(), 0)
        self.assertIn('FILE    NAME', running.text)

    def test_lists_page_by_limit_and_after(self):
        for i in range(3):
            self.put('f%d' % i, b'%d' % i)
        done = self.ok('file', 'ls', '--limit', '2')
        self.assertEqual(len(done.out.splitlines()), 2)
        self.assertIn('--after file-2', done.err)
        self.assertEqual(self.ok('file', 'ls', '--after', 'file-2').out.split('\t')[0], 'file-1')

    def test_json_fields_pick_members(self):
        self.put()
        self.assertEqual(self.ok('file', 'ls', '--json=id,bytes').json(), [{'id': 'file-1', 'bytes': 25}])


class Reads(Case):
    def test_empty_lists_say_what_to_do(self):
        self.assertIn('gdfo job run', self.ok('job', 'ls').err)
        self.assertIn('gdfo file put', self.ok('file', 'ls').err)

    def test_status_shows_version_and_jobs(self):
        self.daemon.add_job()
        done = self.ok('status')
        self.assertIn('0.1.0', done.out)
        self.assertIn(JOB, done.out)
        self.assertEqual(self.ok().out, done.out)
        self.assertEqual(self.ok('status', '--json').json()['version'], '0.1.0')

    def test_job_show(self):
        self.daemon.add_job('failed', error={'message': 'line 3: no label', 'param': 'training_file:3'})
        text = self.ok('job', 'show', JOB).out
        for words in ('failed', 'line 3: no label', 'training_file:3', 'accuracy_dev', '1280'):
            self.assertIn(words, text)
        self.assertEqual(self.ok('job', 'show', JOB, '--json').json()['id'], JOB)

    def test_job_ls_teacher_ls(self):
        self.daemon.add_job()
        self.assertIn('%s\trunning\t-\tlocal\tgdfo\t40\t100\t0.9\t' % JOB, self.ok('job', 'ls').out)
        self.assertEqual(self.ok('teacher', 'ls').out, 'local\tembedded\ttiny\tteacher-1\n')

    def test_actions(self):
        self.daemon.add_job()
        self.assertEqual(self.ok('job', 'pause', JOB).out, '%s\tpaused\n' % JOB)
        self.assertEqual(self.ok('job', 'resume', JOB, '--json=status').json(), {'status': 'queued'})
        self.daemon.add_job(job_id='ftjob-2')
        self.assertEqual(self.ok('job', 'cancel', JOB, 'ftjob-2').out.count('cancelled'), 2)

    def test_metrics(self):
        self.daemon.add_job()
        self.assertEqual(self.ok('job', 'metrics', JOB, '--names', 'loss_dev').out.splitlines()[1], 'loss_dev\t1\t0.7')
        self.assertEqual(self.ok('job', 'metrics', JOB, '--csv').out, 'name,x,y\nloss_dev,0,0.9\n')
        self.assertIn('accuracy_dev', self.ok('job', 'metrics', JOB, '--json').json()['series'])

    def test_api_prints_what_came(self):
        self.assertEqual(json.loads(self.ok('api', 'GET', '/v1/info').out)['version'], '0.1.0')
        self.daemon.add_job()
        done = self.ok('api', 'POST', '/v1/predict', '-d', '{"model":"m","inputs":[{"text":"good"}]}')
        self.assertEqual(json.loads(done.out)['data'][0]['label'], 'positive')
        self.write('body.json', '{"model":"m","inputs":[{"text":"so"}]}')
        self.ok('api', 'POST', '/v1/predict', '-d', '@body.json')
        self.ok('api', 'POST', '/v1/predict', '-d', '@-', stdin=b'{"model":"m","inputs":[]}')
        done = self.gdfo('api', 'GET', '/v1/none', '--json')
        self.assertEqual(done.code, 5)
        self.assertEqual(done.json()['error']['code'], 'not_found')

    def test_the_token_travels_and_so_does_our_name(self):
        self.ok('status', GDFO_TOKEN='gdfo_abc')
        headers = self.daemon.requests[0][2]
        self.assertEqual(headers['authorization'], 'Bearer gdfo_abc')
        self.assertRegex(headers['user-agent'], '^gdfo/')

    def test_a_proxy_of_the_environment_is_not_asked(self):
        self.ok('status', http_proxy='http://127.0.0.1:9', ALL_PROXY='http://127.0.0.1:9')


class Predict(Case):
    def asked(self):
        return [json.loads(b) for m, p, _, b in self.daemon.requests if p == '/v1/predict']

    def test_lines_of_text(self):
        done = self.ok('predict', 'gdfo:local:x:1', stdin='good film\n\nso {dull}\r\n"quoted"\n'.encode())
        self.assertEqual([r['text'] for r in self.asked()[0]['inputs']], ['good film', 'so {dull}', '"quoted"'])
        self.assertEqual(done.out.splitlines()[0], 'positive\tpositive=0.917 negative=0.083\tgood film')
        self.assertIn('3 texts, 3 queries', done.err)

    def test_probabilities_sum_to_one(self):
        line = self.ok('predict', 'm', stdin=b'good\n').out
        values = [float(p.split('=')[1]) for p in line.split('\t')[1].split()]
        self.assertAlmostEqual(sum(values), 1.0, 2)

    def test_jsonl_with_labels_gives_accuracy(self):
        rows = '\ufeff{"text":"good","label":"positive"}\n{"text":"good","label":"negative"}\n' \
               '{"text":"bad","label":"negative","id":3}\n{"text_a":"go","text_b":"od"}\n'
        path = self.write('test.jsonl', rows)
        done = self.ok('predict', 'm', path)
        self.assertIn('accuracy 0.6667 (2 of 3)', done.err)
        self.assertEqual([line.split('\t')[2] for line in done.out.splitlines()], ['right', 'wrong', 'right', 'go'])
        doc = self.ok('predict', 'm', path, '--json').json()
        self.assertEqual((doc['labelled'], doc['correct'], len(doc['data'])), (3, 2, 4))
        self.assertAlmostEqual(doc['accuracy'], 2 / 3)

    def test_texts_that_were_cut_are_told(self):
        rows = '{"text":"good"}\n{"text":"long"}\n{"text":"bad"}\n'
        path = self.write('t.jsonl', rows)
        doc = self.ok('predict', 'm', path, '--json').json()
        self.assertEqual([one['truncated'] for one in doc['data']], [False, True, False])
        self.assertIn('1 texts were cut', self.ok('predict', 'm', path).err)
        self.assertNotIn('cut', self.ok('predict', 'm', stdin=b'good\n').err)

    def test_integer_labels_are_their_decimal_text(self):
        self.daemon.labels = ('0', '1')
        done = self.ok('predict', 'm', stdin=b'{"text":"good","label":0}\n{"text":"bad","label":1}\n')
        self.assertIn('accuracy 1.0000 (2 of 2)', done.err)

    def test_many_rows_go_in_batches_and_come_back_in_order(self):
        rows = ''.join('{"text":"%s %d"}\n' % ('good' if i % 3 else 'bad', i) for i in range(300))
        doc = self.ok('predict', 'm', self.write('t.jsonl', rows), '--json').json()
        self.assertEqual([d['label'] for d in doc['data']], ['positive' if i % 3 else 'negative' for i in range(300)])
        sizes = [len(a['inputs']) for a in self.asked()]
        self.assertEqual(sum(sizes), 300)
        self.assertLessEqual(max(sizes), 256)
        self.assertEqual(doc['usage']['queries'], 300)

    def test_long_rows_keep_bodies_below_the_limit(self):
        rows = ''.join('{"text":"%s"}\n' % ('x' * 60000) for i in range(40))
        self.ok('predict', 'm', self.write('t.jsonl', rows))
        self.assertLess(max(len(b) for m, p, _, b in self.daemon.requests), 1 << 20)

    def test_the_variant_travels(self):
        for v in ('tuned', 'tuned_alone', 'tuned_no_head', 'manual', 'calibrated'):
            doc = self.ok('predict', 'm', '--variant', v, '--json', stdin=b'x\n').json()
            self.assertEqual((doc['variant'], self.asked()[-1]['variant']), (v, v))
        self.ok('predict', 'm', stdin=b'x\n')
        self.assertNotIn('variant', self.asked()[-1])

    def test_bad_rows_are_named_by_line(self):
        for rows, words in ((b'{"text":"a"}\n{"label":"b"}\n', 'line 2'), (b'{"text":"a"}\n\n{oops\n', 'line 3'),
                            (b'{"text":"a","label":""}\n', 'label'), (b'a\n\xff\n', 'line 2'), (b'', 'no text'),
                            (b'{"text":"a"}\nplain\n', 'line 2')):
            done = self.gdfo('predict', 'm', stdin=rows)
            self.assertEqual(done.code, 2, rows)
            self.assertIn(words, done.err)

    def test_a_short_answer_is_refused(self):
        self.daemon.predict = lambda *a: {'data': []}
        done = self.gdfo('predict', 'm', stdin=b'x\n')
        self.assertEqual(done.code, 1)
        self.assertIn('one prediction for each', done.err)


class Result(Case):
    def setUp(self):
        super().setUp()
        self.daemon.add_job('succeeded')

    def test_all_formats_are_written(self):
        done = self.ok('result', JOB, '-o', 'out/deep')
        self.assertEqual(self.read('out/deep/result.json'), b'{"object":"result"}')
        self.assertTrue(self.read('out/deep/prompt.safetensors').startswith(b'\x08\0'))
        self.assertEqual(self.read('out/deep/peft/adapter_config.json'), b'content of adapter_config.json')
        self.assertEqual(sorted(os.listdir(os.path.join(self.folder, 'out/deep/peft'))),
                         ['adapter_config.json', 'adapter_model.safetensors'])
        self.assertEqual(len(done.out.splitlines()), 4)

    def test_a_suffix_prompt_has_no_peft_folder_and_says_why(self):
        self.daemon.peft = None
        done = self.ok('job', 'result', JOB, '-o', 'out')
        self.assertIn('the prompt stands behind the text', done.err)
        self.assertEqual(sorted(os.listdir(os.path.join(self.folder, 'out'))), ['prompt.safetensors', 'result.json'])
        doc = self.ok('result', JOB, '-o', 'out', '--json').json()
        self.assertIn('behind the text', doc['no_peft_because'])

    def test_json_lists_files_with_their_hashes(self):
        import hashlib
        doc = self.ok('result', JOB, '-o', 'out', '--json').json()
        for f in doc['files']:
            self.assertEqual(hashlib.sha256(self.read('out', f['name'])).hexdigest(), f['sha256'])
        self.assertEqual(len(doc['files']), 4)

    def test_the_default_folder_is_named_like_the_job(self):
        self.ok('result', JOB)
        self.assertTrue(os.path.exists(os.path.join(self.folder, JOB, 'result.json')))

    def test_no_checkpoint_no_folder(self):
        self.daemon.faults['/v1/fine_tuning/jobs/%s/checkpoints' % JOB] = (404, 'not_found')
        self.assertEqual(self.gdfo('result', JOB, '-o', 'out').code, 5)
        self.assertFalse(os.path.exists(os.path.join(self.folder, 'out')))

    def test_hostile_archives_write_nothing_outside(self):
        good = fake_daemon.peft_tar()
        linked = io.BytesIO()
        with tarfile.open(fileobj=linked, mode='w', format=tarfile.USTAR_FORMAT) as tar:
            info = tarfile.TarInfo('x')
            info.type, info.linkname = tarfile.SYMTYPE, '/etc/passwd'
            tar.addfile(info)
        for archive in (good[:300], good[:700], b'', b'x' * 2048, linked.getvalue(), b'\0' * 1024,
                        fake_daemon.peft_tar(['..']), fake_daemon.peft_tar(['.hidden']), fake_daemon.peft_tar(['a b'])):
            self.daemon.peft = archive
            self.assertEqual(self.gdfo('result', JOB, '-o', 'out').code, 12, archive[:20])
        self.daemon.peft = fake_daemon.peft_tar(['../../../escaped'])
        self.ok('result', JOB, '-o', 'out')
        self.assertTrue(os.path.exists(os.path.join(self.folder, 'out/peft/escaped')))


if __name__ == '__main__':
    cli_case.main()
