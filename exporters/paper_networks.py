"""The paper's two action classifiers, layer by layer as its Tables 4 and 5 list them.

What the tables leave open is settled as follows, for both:

- between two fully connected layers stands a ReLU, as in torchvision's classifiers of several
  layers (AlexNet, VGG): without it they would be one. The tables list no dropout: there is none.
- the answer is logits; the softmax is the reader's.
"""

from torch import Tensor, nn
from torchvision.models import ResNet
from torchvision.models.video import VideoResNet


class R2Plus1D18(nn.Module):
    """Table 4: clips (N, 3, T, H, W), normalised as for Kinetics, to logits (N, K).

    The table's stem is one 1×7×7 convolution to 64 channels and a spatial max pooling; the stem of
    torchvision's R(2+1)D-18, of which the residual blocks and FC1 are taken over, is factorised
    and pools nothing. FC1 has 400 outputs because it is the Kinetics classifier itself.
    Open in the table: strides and padding, chosen so that its sizes result; no bias before a
    batch normalisation, as torchvision has it.
    """

    def __init__(self, backbone: VideoResNet, classes: int) -> None:
        super().__init__()
        convolution = nn.Conv3d(3, 64, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        self.stem = nn.Sequential(
            convolution,
            nn.BatchNorm3d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        )
        self.blocks = nn.Sequential(
            backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4
        )
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.fc1 = backbone.fc
        self.fc2 = nn.Linear(400, 128)
        self.fc3 = nn.Linear(128, classes)

    def forward(self, clips: Tensor) -> Tensor:
        features = self.pool(self.blocks(self.stem(clips))).flatten(1)
        answer: Tensor = self.fc3(self.fc2(self.fc1(features).relu()).relu())
        return answer


class ResNet50LSTM(nn.Module):
    """Table 5: clips (N, T, 3, H, W), normalised as for ImageNet, to logits (N, K).

    Every frame goes through torchvision's ResNet-50, whose classifier FC1 and FC2 replace; "the
    final FC2 layer … was connected to the input of the LSTM model at each timestep" (appendix B),
    so nothing stands between. Open in the table: the LSTM has one layer, one direction and starts
    from zeros; FC3, which has one input of 256, reads its output at the last time step, when it has
    seen all frames. (LRCN, Donahue et al. 2015, would average an answer at every step.)
    """

    def __init__(self, backbone: ResNet, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(backbone.conv1, backbone.bn1, backbone.relu, backbone.maxpool)
        self.blocks = nn.Sequential(
            backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Linear(2048, 1024)
        self.fc2 = nn.Linear(1024, 512)
        self.lstm = nn.LSTM(512, 256, batch_first=True)
        self.fc3 = nn.Linear(256, classes)

    def forward(self, clips: Tensor) -> Tensor:
        features = self.pool(self.blocks(self.stem(clips.flatten(0, 1)))).flatten(1)
        words = self.fc2(self.fc1(features).relu())
        steps, _ = self.lstm(words.reshape(-1, clips.shape[1], 512))
        answer: Tensor = self.fc3(steps[:, -1])
        return answer
