"""A run's folder on disk: append-only while it runs, finished by an atomic rename, readable at any moment.

    results/<spec>/question.json                          what the spec asks; decides no number
    results/<spec>/<task>/<arm>/<seed>-<key>/
        run.json            the resolved run and, once it has ended, its outcome, environment and digest
        measurements.csv    step,seconds,direction,quantity,value: one number a row
        checkpoint.pt, heartbeat.json      only while unfinished;    log.txt     only if the run printed something
        job.json            the cluster's job that makes it, only while unfinished and only on a cluster

A run counts as done when run.json says so. run.json is only ever replaced whole, after measurements.csv has reached
the disk, so a crash at any point leaves a run that is done or a run that is not, and nothing in between.

A folder `<seed>-<key>.set-aside-1` held something else than the run that a plan has there; no command reads it.
"""

from clipbench.store.atomic import make_folder as make_folder
from clipbench.store.atomic import replacing as replacing
from clipbench.store.live import Writer as Writer
from clipbench.store.live import begin as begin
from clipbench.store.live import has_recorded as has_recorded
from clipbench.store.live import open_log as open_log
from clipbench.store.live import read_heartbeat as read_heartbeat
from clipbench.store.live import read_job as read_job
from clipbench.store.live import read_log as read_log
from clipbench.store.live import recorded_sha256 as recorded_sha256
from clipbench.store.live import write_heartbeat as write_heartbeat
from clipbench.store.live import write_job as write_job
from clipbench.store.live import written_at as written_at
from clipbench.store.merging import joined as joined
from clipbench.store.merging import merge as merge
from clipbench.store.opening import content as content
from clipbench.store.opening import reading as reading
from clipbench.store.planned import describe as describe
from clipbench.store.planned import has_failed as has_failed
from clipbench.store.planned import set_aside as set_aside
from clipbench.store.renaming import Renamed as Renamed
from clipbench.store.renaming import put_in_place as put_in_place
from clipbench.store.renaming import renamed as renamed
from clipbench.store.results import QUESTION as QUESTION
from clipbench.store.results import claimed as claimed
from clipbench.store.results import find as find
from clipbench.store.results import folder_of as folder_of
from clipbench.store.results import folder_of_spec as folder_of_spec
from clipbench.store.results import missing as missing
from clipbench.store.results import place_of as place_of
from clipbench.store.results import read_all as read_all
from clipbench.store.results import read_question as read_question
from clipbench.store.results import run_folders as run_folders
from clipbench.store.results import write_question as write_question
from clipbench.store.runs import CHECKPOINT as CHECKPOINT
from clipbench.store.runs import HEARTBEAT as HEARTBEAT
from clipbench.store.runs import JOB as JOB
from clipbench.store.runs import LOG as LOG
from clipbench.store.runs import MEASUREMENTS as MEASUREMENTS
from clipbench.store.runs import RUN as RUN
from clipbench.store.runs import digest_of as digest_of
from clipbench.store.runs import finish as finish
from clipbench.store.runs import read as read
from clipbench.store.runs import read_outcome as read_outcome
