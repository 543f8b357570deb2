"""Which pretrained model to build on: an answer computed from rows of leaderboards.

question   what was asked: the task, bounds, weights
gather     results folders -> flat rows; what was skipped and why
evidence   flat rows -> candidates, compared on the same data sets
answer     candidates -> recommendation, runner-up, what each bound excluded
reasons    what speaks for the answer, what is only estimated, what to measure to be surer
wording    the answer on a terminal and as JSON
ask        the question asked by prompts, where no flags were given
choose.js  `evidence` and `answer` once more, for pages; a test holds the two together

The rule fits in five lines:

1. Candidates are rows (a fit in a runtime on a device) of the asked task, scored on the same data.
2. A candidate that breaks a bound, or was not measured on it, is excluded and named.
3. Each criterion becomes a utility from 0 (worst admissible) to 1 (best). Scores that the paired
   tests cannot tell from the best's all count 1; costs are compared on a logarithmic scale.
4. The weighted mean decides; without weights, the score alone.
5. Of equal candidates the cheaper wins: a linear baseline first, then latency, size, fit time.
"""
