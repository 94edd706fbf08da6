"""`tollhouse doctor`: looks at a deployment from outside, and says what is wrong and what to do about it."""
