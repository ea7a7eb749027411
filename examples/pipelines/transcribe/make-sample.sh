#!/bin/sh
# Makes speech.wav from speech.txt: one sentence a line, spoken by espeak-ng, with a pause after each.
# The result is committed, so that nobody needs espeak-ng and sox to run the pipeline. The same versions of the two
# make the same bytes each time. 22050 Hz is espeak-ng's own rate, and gives audio-prep something to resample.
set -eu

voice=en-us+f5
words_a_minute=130
pause_s=0.6

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

n=100
while IFS= read -r sentence; do
    n=$((n + 1))
    espeak-ng -v "$voice" -s "$words_a_minute" -w "$work/spoken.wav" "$sentence"
    # espeak-ng adds a silence of its own at the end: cut it off, so that all pauses are alike.
    sox -D "$work/spoken.wav" "$work/$n.wav" reverse silence 1 0.01 0.1% reverse pad 0 "$pause_s"
done < "$here/speech.txt"

sox -D "$work"/1*.wav --comment '' "$here/speech.wav" pad 0.5 0 gain -n -3
